-- How much of a symbol changes hands on an ordinary day of a year: dollars, raw close times raw volume.
SELECT symbol, CAST(year(session) AS INTEGER) AS year, median(close * volume) AS median_usd
FROM daily_bars
WHERE symbol IN (SELECT DISTINCT symbol FROM wf_trades)
GROUP BY symbol, year(session)
ORDER BY symbol, year
