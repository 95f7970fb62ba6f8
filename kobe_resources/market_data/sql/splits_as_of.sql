-- Splits as the store held them at $moment: today's, less those that came since, and those that went since.
WITH later AS (
    SELECT symbol, execution_date, split_from, split_to, first(change ORDER BY seen_at, rowid) AS change
    FROM split_revisions
    WHERE seen_at > $moment
      AND seen_at >= (SELECT began_at FROM bar_epochs ORDER BY epoch DESC LIMIT 1)
    GROUP BY symbol, execution_date, split_from, split_to
)
SELECT symbol, execution_date, split_from, split_to
FROM (
    SELECT symbol, execution_date, split_from, split_to FROM later WHERE change = 'removed'
    UNION ALL
    SELECT s.symbol, s.execution_date, s.split_from, s.split_to
    FROM splits s
    ANTI JOIN later l ON s.symbol = l.symbol AND s.execution_date = l.execution_date
                     AND s.split_from = l.split_from AND s.split_to = l.split_to
)
ORDER BY ALL
