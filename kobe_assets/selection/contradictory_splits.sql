-- Listed splits of which at most one can be true: two ratios on one day, or one ratio twice within days (ex-date and pay date).
SELECT s.symbol, s.execution_date, s.split_from, s.split_to
FROM splits s JOIN splits o USING (symbol)
WHERE (s.split_from <> o.split_from OR s.split_to <> o.split_to) AND s.execution_date = o.execution_date
   OR s.split_from = o.split_from AND s.split_to = o.split_to AND s.execution_date <> o.execution_date
  AND abs(s.execution_date - o.execution_date) <= $days
