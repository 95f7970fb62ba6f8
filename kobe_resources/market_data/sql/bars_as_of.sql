-- Bars as the store held them at $moment: today's values, with each field taken back to the oldest one replaced since.
WITH later AS (
    SELECT symbol, session,
           first(old_fetched_at ORDER BY seen_at, rowid) AS known_since,
           count(*) FILTER (field = 'open') > 0 AS open_moved, first(old ORDER BY seen_at, rowid) FILTER (field = 'open') AS open,
           count(*) FILTER (field = 'high') > 0 AS high_moved, first(old ORDER BY seen_at, rowid) FILTER (field = 'high') AS high,
           count(*) FILTER (field = 'low') > 0 AS low_moved, first(old ORDER BY seen_at, rowid) FILTER (field = 'low') AS low,
           count(*) FILTER (field = 'close') > 0 AS close_moved, first(old ORDER BY seen_at, rowid) FILTER (field = 'close') AS close,
           count(*) FILTER (field = 'volume') > 0 AS volume_moved, first(old ORDER BY seen_at, rowid) FILTER (field = 'volume') AS volume,
           count(*) FILTER (field = 'vwap') > 0 AS vwap_moved, first(old ORDER BY seen_at, rowid) FILTER (field = 'vwap') AS vwap,
           count(*) FILTER (field = 'trades') > 0 AS trades_moved, first(old ORDER BY seen_at, rowid) FILTER (field = 'trades') AS trades
    FROM bar_revisions
    WHERE seen_at > $moment
      AND seen_at >= (SELECT began_at FROM bar_epochs ORDER BY epoch DESC LIMIT 1)
    GROUP BY symbol, session
)
SELECT coalesce(b.symbol, r.symbol) AS symbol, coalesce(b.session, r.session) AS session,
       CASE WHEN r.open_moved THEN r.open ELSE b.open END AS open,
       CASE WHEN r.high_moved THEN r.high ELSE b.high END AS high,
       CASE WHEN r.low_moved THEN r.low ELSE b.low END AS low,
       CASE WHEN r.close_moved THEN r.close ELSE b.close END AS close,
       CASE WHEN r.volume_moved THEN r.volume ELSE b.volume END AS volume,
       CASE WHEN r.vwap_moved THEN r.vwap ELSE b.vwap END AS vwap,
       (CASE WHEN r.trades_moved THEN r.trades ELSE b.trades END)::BIGINT AS trades
FROM daily_bars b
FULL JOIN later r ON b.symbol = r.symbol AND b.session = r.session
WHERE coalesce(r.known_since, b.fetched_at) <= $moment
ORDER BY ALL
