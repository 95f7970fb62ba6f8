-- Dividends of symbols with bars: the place of the symbol in the sorted list, the day of the ex-date since 1970, dollars a share.
SELECT s.place AS symbol, (d.ex_date - DATE '1970-01-01')::INTEGER AS day, d.amount
FROM dividends d
JOIN (SELECT symbol, (row_number() OVER (ORDER BY symbol) - 1)::INTEGER AS place FROM (SELECT DISTINCT symbol FROM daily_bars)) s
    USING (symbol)
