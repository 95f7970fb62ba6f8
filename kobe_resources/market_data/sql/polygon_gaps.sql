-- Candidates whose stored bars may have a hole: none at all, a session between their first and last that others have, or an
-- end before the last one though they are still traded.
WITH asked AS (SELECT unnest($sessions::DATE[]) AS session),
days AS (
    SELECT session, row_number() OVER (ORDER BY session) AS number
    FROM (SELECT DISTINCT session FROM daily_bars SEMI JOIN asked USING (session))
),
own AS (
    SELECT symbol, count(DISTINCT number) AS bars, min(number) AS first, max(number) AS last
    FROM daily_bars JOIN days USING (session) GROUP BY symbol
)
SELECT symbol FROM candidates LEFT JOIN own USING (symbol)
WHERE bars IS NULL OR bars <= last - first OR (active AND last < (SELECT max(number) FROM days))
ORDER BY symbol;
