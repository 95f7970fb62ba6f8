-- Adjusted bars with their symbol's place in the sorted list, in any order.
SELECT s.place AS symbol, b.session, b.open, b.high, b.low, b.close, b.volume, b.factor
FROM adjusted_bars b
JOIN (SELECT symbol, (row_number() OVER (ORDER BY symbol) - 1)::INTEGER AS place FROM (SELECT DISTINCT symbol FROM daily_bars)) s
    USING (symbol)
