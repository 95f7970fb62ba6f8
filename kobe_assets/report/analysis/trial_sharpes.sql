-- One row a distinct parameter set under distinct settings: the mean of its train Sharpe ratios over the folds.
-- Means are taken in an order, so that the same records give the same last digit.
SELECT strategy, params, config_pin, avg(train_sharpe ORDER BY fold) AS sharpe
FROM (
    SELECT strategy, params::VARCHAR AS params, config_pin, fold, avg(train_sharpe ORDER BY train_sharpe) AS train_sharpe
    FROM wf_trials
    WHERE train_sharpe IS NULL OR NOT isnan(train_sharpe)
    GROUP BY ALL
)
GROUP BY ALL
ORDER BY ALL
