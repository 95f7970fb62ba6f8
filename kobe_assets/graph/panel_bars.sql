-- Adjusted bars of the panel with the place of their symbol in its sorted list and the day of their session since 1970, in any order.
SELECT s.place AS symbol, (b.session - DATE '1970-01-01')::INTEGER AS day, b.open, b.high, b.low, b.close, b.volume, b.factor
FROM adjusted_bars b
JOIN panel_places s USING (symbol)
