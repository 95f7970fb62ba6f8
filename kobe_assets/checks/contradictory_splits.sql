SELECT symbol, execution_date, string_agg(DISTINCT printf('%g:%g', split_to, split_from), ', ') AS ratios, count(*) OVER () AS offenders
FROM splits
WHERE symbol IN (SELECT symbol FROM candidates)
GROUP BY symbol, execution_date
HAVING count(DISTINCT (split_from, split_to)) > 1
ORDER BY symbol, execution_date
LIMIT 20
