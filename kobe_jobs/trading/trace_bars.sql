-- The last bars up to the signal, as traded and adjusted, with their indicators.
SELECT r.session, r.open AS raw_open, r.high AS raw_high, r.low AS raw_low, r.close AS raw_close, r.volume AS raw_volume,
       r.source, r.fetched_at, a.open, a.high, a.low, a.close, a.factor, i.* EXCLUDE (symbol, session)
FROM daily_bars r
JOIN adjusted_bars a ON a.symbol = r.symbol AND a.session = r.session
LEFT JOIN indicators i ON i.symbol = r.symbol AND i.session = r.session
WHERE r.symbol = $symbol AND r.session <= $session
ORDER BY r.session DESC LIMIT 5
