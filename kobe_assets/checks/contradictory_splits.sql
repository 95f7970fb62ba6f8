-- Candidates with splits that contradict each other (the table `contradictory_splits`), and which these are.
SELECT symbol, min(execution_date) AS execution_date, string_agg(DISTINCT printf('%s %g:%g', execution_date, split_to, split_from), ', ') AS ratios,
       count(*) OVER () AS offenders
FROM contradictory_splits
WHERE symbol IN (SELECT symbol FROM candidates)
GROUP BY symbol
ORDER BY symbol
LIMIT $most
