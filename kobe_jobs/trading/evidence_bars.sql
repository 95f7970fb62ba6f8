-- Adjusted closes with their factor and indicators, of the named symbols, in order.
SELECT b.symbol, b.session, b.close, b.factor, i.* EXCLUDE (symbol, session)
FROM adjusted_bars b
LEFT JOIN indicators i ON i.symbol = b.symbol AND i.session = b.session
WHERE b.symbol IN (SELECT unnest($symbols)) AND b.session <= $last
ORDER BY b.symbol, b.session
