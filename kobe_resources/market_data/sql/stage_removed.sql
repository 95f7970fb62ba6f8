-- Stored bars that a complete load no longer has.
INSERT INTO bar_changes
SELECT s.symbol, s.session, 'removed', NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       s.open, s.high, s.low, s.close, s.volume, s.vwap, s.trades, s.fetched_at
FROM daily_bars s
ANTI JOIN incoming_bars i ON s.symbol = i.symbol AND s.session = i.session;
