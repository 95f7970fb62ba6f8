INSERT INTO daily_bars (symbol, session, open, high, low, close, volume, vwap, trades, source, fetched_at)
SELECT symbol, session, open, high, low, close, volume, vwap, trades, $source, $fetched_at
FROM bar_changes
WHERE change <> 'removed'
ORDER BY symbol, session;
