-- Every listing of a candidate with its place in the sorted list and the days from which and before which its bars lie.
CREATE OR REPLACE TEMP TABLE member_listings AS
WITH wanted AS (
    SELECT DISTINCT symbol FROM daily_bars SEMI JOIN candidates USING (symbol)
), later AS (
    SELECT symbol, listing, since, until FROM later_listings SEMI JOIN wanted USING (symbol)
)
SELECT symbol, since, until, (row_number() OVER (ORDER BY symbol, since) - 1)::INTEGER AS place
FROM (
    SELECT w.symbol, DATE '0001-01-01' AS since, coalesce(min(l.since), DATE '9999-12-31') AS until
    FROM wanted w LEFT JOIN later l USING (symbol) GROUP BY w.symbol
    UNION ALL
    SELECT symbol, since, until FROM later
)
