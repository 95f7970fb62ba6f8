-- What the last load restated of a symbol and took back: bars, and the splits and dividends that had taken effect.
WITH loads AS (
    SELECT loaded_at FROM bar_loads WHERE epoch = (SELECT max(epoch) FROM bar_epochs) ORDER BY loaded_at DESC LIMIT 2
), last_load AS (
    -- A load over a network stores its parts before it is recorded.
    SELECT CASE WHEN count(*) = 2 THEN min(loaded_at) ELSE TIMESTAMPTZ '1970-01-01 00:00:00+00' END AS after FROM loads
), bars AS (
    SELECT symbol, min(session) AS session, max(session) AS until, count(*) FILTER (new > 0) AS restated,
           count(*) FILTER (new IS NULL) AS gone, median(new / old) FILTER (new > 0) AS factor,
           -- Of one bar alone any factor is one throughout.
           count(*) FILTER (new > 0) > 1
               AND coalesce(max(new / old) FILTER (new > 0) / min(new / old) FILTER (new > 0) < 1.02, false) AS one_factor,
           max(abs(ln(new / old))) FILTER (new > 0) AS largest
    FROM bar_revisions, last_load
    WHERE seen_at > last_load.after AND field = 'close' AND old > 0
    GROUP BY symbol
), volumes AS (
    -- Shares counted anew of a history whose closes stayed: another unit, or another part of the market.
    SELECT symbol, min(session) AS session, max(session) AS until, count(*) AS restated, median(new / old) AS factor,
           max(new / old) / min(new / old) < 1.02 AS one_factor
    FROM bar_revisions, last_load
    WHERE seen_at > last_load.after AND field = 'volume' AND old > 0 AND new > 0
      AND symbol NOT IN (SELECT symbol FROM bars WHERE restated > 0)
    GROUP BY symbol
    HAVING count(*) >= 20 AND median(abs(ln(new / old))) > 0.05
), actions AS (
    SELECT 'splits' AS what, symbol, execution_date AS day, change FROM split_revisions, last_load WHERE seen_at > last_load.after
    UNION ALL
    SELECT 'dividends', symbol, ex_date, change FROM dividend_revisions, last_load WHERE seen_at > last_load.after
), lost AS (
    SELECT what, symbol, day, bool_or(change = 'added') AS again
    FROM actions
    WHERE day <= (SELECT max(session) FROM daily_bars)
    GROUP BY ALL HAVING bool_or(change = 'removed')
), changes AS (
    SELECT 'bars' AS what, 'restated' AS change, symbol, session, until, restated AS rows, factor, one_factor
    FROM bars WHERE restated >= 20 OR largest > 0.05
    UNION ALL
    SELECT 'volumes', 'restated', symbol, session, until, restated, factor, one_factor FROM volumes
    UNION ALL
    SELECT 'bars', 'taken back', symbol, session, until, gone, NULL, false FROM bars WHERE gone >= 20
    UNION ALL
    SELECT what, CASE WHEN again THEN 'restated' ELSE 'taken back' END, symbol, min(day), max(day), count(*), NULL, false
    FROM lost GROUP BY what, again, symbol
)
SELECT symbol, session, until, what, change, rows, factor, one_factor, count(*) OVER () AS offenders
FROM changes
ORDER BY rows DESC, symbol, what
LIMIT $most
