-- Adjusted bars with the place of their symbol in the sorted list and the day of their session since 1970, in any order.
SELECT s.place AS symbol, (b.session - DATE '1970-01-01')::INTEGER AS day, b.open, b.high, b.low, b.close, b.volume, b.factor
FROM adjusted_bars b
JOIN (SELECT symbol, (row_number() OVER (ORDER BY symbol) - 1)::INTEGER AS place FROM (SELECT DISTINCT symbol FROM daily_bars)) s
    USING (symbol)
