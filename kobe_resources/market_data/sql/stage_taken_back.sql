-- Stored bars of one symbol before a day, as bars that their source takes back.
CREATE OR REPLACE TEMP TABLE bar_changes AS
SELECT symbol, session, 'removed' AS change,
       NULL::DOUBLE AS open, NULL::DOUBLE AS high, NULL::DOUBLE AS low, NULL::DOUBLE AS close, NULL::DOUBLE AS volume,
       NULL::DOUBLE AS vwap, NULL::BIGINT AS trades,
       open AS old_open, high AS old_high, low AS old_low, close AS old_close, volume AS old_volume,
       vwap AS old_vwap, trades AS old_trades, fetched_at AS old_fetched_at
FROM daily_bars
WHERE symbol = $symbol AND session < $before;
