-- A fold's mean exposure and how many sessions it is the mean of.
SELECT f.strategy, f.mode, f.fold, f.exposure, count(e.session) AS sessions
FROM wf_folds f
JOIN wf_equity e USING (strategy, mode, fold)
GROUP BY ALL
ORDER BY ALL
