-- Indicators with the places of their symbol and session in the sorted lists of the bars, in any order.
SELECT s.place AS symbol, d.place AS session, i.rsi2, i.sma200, i.atr14, i.ibs
FROM indicators i
JOIN (SELECT symbol, row_number() OVER (ORDER BY symbol) - 1 AS place FROM (SELECT DISTINCT symbol FROM daily_bars)) s
    USING (symbol)
JOIN (SELECT session, row_number() OVER (ORDER BY session) - 1 AS place FROM (SELECT DISTINCT session FROM daily_bars)) d
    USING (session)
