SELECT symbol, execution_date, split_from, split_to, count(*) AS copies, count(*) OVER () AS offenders
FROM splits
WHERE symbol IN (SELECT symbol FROM candidates)
GROUP BY symbol, execution_date, split_from, split_to
HAVING count(*) > 1
ORDER BY symbol, execution_date
LIMIT $most
