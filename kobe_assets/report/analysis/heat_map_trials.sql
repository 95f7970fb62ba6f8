-- The mean train Sharpe ratio of every parameter set of one run, by strategy: the run of these settings and bars, else the latest.
-- A set without a ratio in any fold has NULL. Means are taken in an order, so that the same records give the same last digit.
WITH recorded AS (
    -- Another source of a strategy is another run. Trial 0 is no set of the grid.
    SELECT * EXCLUDE (terms), coalesce(terms, '') AS terms FROM wf_trials WHERE fold > 0 AND trial > 0
),
runs AS (
    SELECT strategy, config_pin, data_version, terms, max(recorded_at) AS recorded_at
    FROM recorded GROUP BY strategy, config_pin, data_version, terms
    QUALIFY row_number() OVER (
        PARTITION BY strategy
        ORDER BY (config_pin = $pin AND data_version = $version) DESC, max(recorded_at) DESC, config_pin, data_version, terms
    ) = 1
),
of_fold AS (
    SELECT strategy, fold, min(trial) AS trial, params::VARCHAR AS params,
           max(train_sharpe) FILTER (WHERE NOT isnan(train_sharpe)) AS sharpe
    FROM recorded JOIN runs USING (strategy, config_pin, data_version, terms)
    GROUP BY ALL
)
SELECT strategy, params, min(trial) AS trial, count(*) AS folds, avg(sharpe ORDER BY fold) AS sharpe
FROM of_fold GROUP BY ALL ORDER BY strategy, trial, params
