-- The opens, as traded, of some symbols in some sessions, pairwise.
SELECT b.symbol, b.session, b.open
FROM daily_bars b
JOIN (SELECT unnest($symbols) AS symbol, unnest($sessions)::DATE AS session) w ON w.symbol = b.symbol AND w.session = b.session
