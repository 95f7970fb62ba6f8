-- How often luck was invited: parameter sets ever tried on this warehouse, by strategy.
SELECT strategy, count(*) AS recorded, count(DISTINCT CAST(params AS VARCHAR)) AS parameter_sets,
       count(DISTINCT config_pin || data_version) AS runs
FROM wf_trials
GROUP BY strategy
ORDER BY strategy
