-- Incoming bars that are new, or differ from the stored ones.
CREATE OR REPLACE TEMP TABLE bar_changes AS
SELECT i.symbol, i.session::DATE AS session, CASE WHEN s.symbol IS NULL THEN 'added' ELSE 'changed' END AS change,
       i.open::DOUBLE AS open, i.high::DOUBLE AS high, i.low::DOUBLE AS low, i.close::DOUBLE AS close,
       i.volume::DOUBLE AS volume, i.vwap::DOUBLE AS vwap, i.trades::BIGINT AS trades,
       s.open AS old_open, s.high AS old_high, s.low AS old_low, s.close AS old_close,
       s.volume AS old_volume, s.vwap AS old_vwap, s.trades AS old_trades, s.fetched_at AS old_fetched_at
FROM incoming_bars i
LEFT JOIN daily_bars s ON s.symbol = i.symbol AND s.session = i.session
WHERE s.symbol IS NULL
   OR i.open <> s.open OR i.high <> s.high OR i.low <> s.low OR i.close <> s.close OR i.volume <> s.volume
   OR i.vwap::DOUBLE IS DISTINCT FROM s.vwap OR i.trades::BIGINT IS DISTINCT FROM s.trades;
