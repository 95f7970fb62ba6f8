-- What was set aside, by reason, the most first: how many rows, and the first of them. Of more reasons than are told, those
-- that differ in what is quoted, or in a number, are one: repeated rows name their symbol and day.
WITH kinds AS (
    SELECT *, CASE WHEN (SELECT count(DISTINCT reason) FROM set_aside) <= $most THEN reason
                   ELSE regexp_replace(reason, '''[^'']*''|[-+]?[0-9][-+0-9.,e]*', '…', 'g') END AS kind
    FROM set_aside
)
SELECT arg_min(symbol, (session, line)) AS symbol, min(session) AS session,
       arg_min(reason, (session, line)) AS reason, count(*) AS rows, min(line) AS line,
       array_to_string(list_sort(list_distinct(list(symbol) FILTER (symbol <> '')))[:6], ', ') AS symbols,
       sum(count(*)) OVER ()::BIGINT AS offenders
FROM kinds
GROUP BY kind
ORDER BY count(*) DESC, reason
LIMIT $most
