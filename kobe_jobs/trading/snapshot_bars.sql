-- Adjusted closes with their factor and indicators, of the named symbols, in order.
SELECT b.symbol, b.session, b.close, b.factor,
       b.open AS bar_open, b.high AS bar_high, b.low AS bar_low, b.volume AS bar_volume, i.* EXCLUDE (symbol, session)
FROM adjusted_bars b
LEFT JOIN (SELECT * FROM indicators WHERE symbol IN (SELECT unnest($symbols))) i
  ON i.symbol = b.symbol AND i.session = b.session
WHERE b.symbol IN (SELECT unnest($symbols)) AND b.session <= $last
ORDER BY b.symbol, b.session
