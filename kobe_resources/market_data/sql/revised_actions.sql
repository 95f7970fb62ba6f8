-- Splits and dividends in effect that loads took back, or gave otherwise for the same day, the most first.
WITH changes AS (
    SELECT 'splits' AS what, symbol, execution_date AS day, change, seen_at FROM split_revisions
    UNION ALL SELECT 'dividends', symbol, ex_date, change, seen_at FROM dividend_revisions
), days AS (
    SELECT what, symbol, day, bool_or(change = 'added') AS again
    FROM changes
    WHERE seen_at >= $since AND ($symbol IS NULL OR symbol = $symbol) AND day <= (SELECT max(session) FROM daily_bars)
    GROUP BY what, symbol, day, seen_at
    HAVING bool_or(change = 'removed')
)
SELECT what, CASE WHEN again THEN 'restated' ELSE 'taken back' END AS change, symbol, count(*) AS rows
FROM days
GROUP BY ALL
ORDER BY rows DESC, symbol, what, change
