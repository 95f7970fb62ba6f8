-- The tries that the stored figures charge for (NULL: no figures), and those on record, counted as trial_sharpes.sql does.
SELECT
    (SELECT max(value) FROM kpis WHERE figure = 'dsr_trials') AS charged,
    count(DISTINCT (strategy, params::VARCHAR, coalesce(terms, config_pin))) AS on_record
FROM wf_trials
WHERE vendor IS NULL OR vendor = $vendor
