-- Splits that come and go within the window, before they do.
INSERT INTO split_revisions (symbol, execution_date, split_from, split_to, change, seen_at)
SELECT coalesce(n.symbol, o.symbol), coalesce(n.execution_date, o.execution_date),
       coalesce(n.split_from, o.split_from), coalesce(n.split_to, o.split_to),
       CASE WHEN o.symbol IS NULL THEN 'added' ELSE 'removed' END, $seen_at
FROM (SELECT * FROM incoming_splits WHERE execution_date BETWEEN $since AND $until) n
FULL JOIN (SELECT * FROM splits WHERE execution_date BETWEEN $since AND $until) o
       ON n.symbol = o.symbol AND n.execution_date = o.execution_date
      AND n.split_from = o.split_from AND n.split_to = o.split_to
WHERE n.symbol IS NULL OR o.symbol IS NULL
RETURNING change;
