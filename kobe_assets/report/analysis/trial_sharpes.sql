-- One row a distinct try on this vendor's bars (rules, section 6), with the mean over the folds of its latest train Sharpe ratios
-- on the bars of now; NULL where the bars have changed since. since: when a ratio was first known on them. Rows from before the columns
-- were there stand for themselves.
-- Means are taken in an order, so that the same records give the same last digit.
WITH recorded AS (
    SELECT strategy, params::VARCHAR AS params, coalesce(terms, config_pin) AS terms, fold, train_sharpe, data_version, recorded_at
    FROM wf_trials
    WHERE vendor IS NULL OR vendor = $vendor
),
known AS (
    SELECT strategy, params, terms, fold, train_sharpe, min(recorded_at) OVER (PARTITION BY strategy, params, terms) AS since
    FROM recorded
    WHERE data_version = $version AND train_sharpe IS NOT NULL AND NOT isnan(train_sharpe)
    QUALIFY row_number() OVER (PARTITION BY strategy, params, terms, fold ORDER BY recorded_at DESC, train_sharpe DESC) = 1
)
SELECT t.strategy, t.params, t.terms, k.since, avg(k.train_sharpe ORDER BY k.fold) AS sharpe
FROM (SELECT DISTINCT strategy, params, terms FROM recorded) t
LEFT JOIN known k ON (k.strategy, k.params, k.terms) = (t.strategy, t.params, t.terms)
GROUP BY ALL
ORDER BY ALL
