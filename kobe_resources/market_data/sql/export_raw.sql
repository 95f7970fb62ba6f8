-- Bars of the symbols (none: all) in a span (null: open), raw.
SELECT symbol, session, open, high, low, close, volume, vwap, trades
FROM daily_bars
WHERE (len($symbols::VARCHAR[]) = 0 OR symbol IN (SELECT unnest($symbols::VARCHAR[])))
  AND session >= coalesce($start::DATE, DATE '0001-01-01') AND session <= coalesce($end::DATE, DATE '9999-12-31')
ORDER BY symbol, session
