-- The parameter sets of each strategy's latest run (one settings pin, one data version); older runs count in trial_counts.
SELECT t.*
FROM wf_trials t
JOIN (
    SELECT strategy, arg_max(config_pin, recorded_at) AS config_pin, arg_max(data_version, recorded_at) AS data_version,
           arg_max(coalesce(terms, ''), recorded_at) AS terms
    FROM wf_trials WHERE fold > 0 GROUP BY strategy
) latest ON (t.strategy, t.config_pin, t.data_version, coalesce(t.terms, ''))
    = (latest.strategy, latest.config_pin, latest.data_version, latest.terms)
WHERE t.fold > 0
ORDER BY t.strategy, t.fold, t.trial, t.recorded_at
