-- For each symbol the day from which its last $bars bars are read: $days before its last one, or the first of days where that
-- holds too few.
WITH ends AS (
    SELECT symbol, max(session) - $days::INTEGER AS since, count(*) AS bars FROM daily_bars GROUP BY symbol
), held AS (
    SELECT e.symbol, e.since, e.bars, count(*) AS inside
    FROM ends e JOIN daily_bars b ON b.symbol = e.symbol AND b.session >= e.since
    GROUP BY ALL
)
SELECT symbol, CASE WHEN inside >= least($bars, bars) THEN since ELSE DATE '0001-01-01' END AS since FROM held
