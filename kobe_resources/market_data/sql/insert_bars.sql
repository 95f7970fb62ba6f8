INSERT INTO daily_bars (symbol, session, open, high, low, close, volume, vwap, trades, source, fetched_at)
SELECT symbol, session, open, high, low, close, volume, vwap, trades::BIGINT, $source, $fetched_at
FROM incoming_bars;
