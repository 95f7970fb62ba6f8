-- Symbols whose bars nothing may be decided by, and why; the rule of contradictory splits is that of its check.
SELECT s.symbol, 'contradictory_splits' AS reason
FROM splits s JOIN splits o USING (symbol)
WHERE (s.split_from <> o.split_from OR s.split_to <> o.split_to) AND s.execution_date = o.execution_date
   OR s.split_from = o.split_from AND s.split_to = o.split_to AND s.execution_date <> o.execution_date
  AND abs(s.execution_date - o.execution_date) <= $days
GROUP BY s.symbol
UNION ALL
SELECT symbol, 'no_volume' FROM daily_bars GROUP BY symbol HAVING max(volume) = 0
