-- Dividends of the panel's symbols: the place of the symbol in the sorted list, the day of the ex-date since 1970, dollars a share.
SELECT s.place AS symbol, (d.ex_date - DATE '1970-01-01')::INTEGER AS day, d.amount
FROM dividends d
JOIN panel_places s USING (symbol)
