-- Adjusted bars with the places of their symbol and session in the sorted lists, in any order.
SELECT s.place AS symbol, d.place AS session, b.open, b.high, b.low, b.close, b.volume, b.factor
FROM adjusted_bars b
JOIN (SELECT symbol, row_number() OVER (ORDER BY symbol) - 1 AS place FROM (SELECT DISTINCT symbol FROM daily_bars)) s
    USING (symbol)
JOIN (SELECT session, row_number() OVER (ORDER BY session) - 1 AS place FROM (SELECT DISTINCT session FROM daily_bars)) d
    USING (session)
