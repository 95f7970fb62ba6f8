-- Dividends as the store held them at $moment: today's, less those that came since, and those that went since.
WITH later AS (
    SELECT symbol, ex_date, amount, kind, pay_date, first(change ORDER BY seen_at, rowid) AS change
    FROM dividend_revisions
    WHERE seen_at > $moment
      AND seen_at >= (SELECT began_at FROM bar_epochs ORDER BY epoch DESC LIMIT 1)
    GROUP BY ALL
)
SELECT symbol, ex_date, amount, kind, pay_date FROM later WHERE change = 'removed'
UNION ALL
SELECT * FROM (
    SELECT symbol, ex_date, amount, kind, pay_date FROM dividends
    EXCEPT SELECT symbol, ex_date, amount, kind, pay_date FROM later
)
ORDER BY ALL
