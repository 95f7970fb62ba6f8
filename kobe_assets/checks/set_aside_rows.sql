-- What was set aside, by reason, the most first: how many rows, and the first of them.
SELECT arg_min(symbol, (session, line)) AS symbol, min(session) AS session, reason, count(*) AS rows, min(line) AS line,
       array_to_string(list_sort(list_distinct(list(symbol) FILTER (symbol <> '')))[:6], ', ') AS symbols,
       sum(count(*)) OVER ()::BIGINT AS offenders
FROM set_aside
GROUP BY reason
ORDER BY count(*) DESC, reason
LIMIT $most
