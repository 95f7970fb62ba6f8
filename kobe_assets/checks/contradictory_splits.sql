-- Splits of which at most one can be true: two ratios on one day, or one ratio twice within days (ex-date and pay date).
SELECT symbol, min(execution_date) AS execution_date, string_agg(DISTINCT printf('%s %g:%g', execution_date, split_to, split_from), ', ') AS ratios,
       count(*) OVER () AS offenders
FROM (
    SELECT s.* FROM splits s JOIN splits o USING (symbol)
    WHERE (s.split_from <> o.split_from OR s.split_to <> o.split_to) AND s.execution_date = o.execution_date
       OR s.split_from = o.split_from AND s.split_to = o.split_to AND s.execution_date <> o.execution_date
      AND abs(s.execution_date - o.execution_date) <= $days
)
WHERE symbol IN (SELECT symbol FROM candidates)
GROUP BY symbol
ORDER BY symbol
LIMIT $most
