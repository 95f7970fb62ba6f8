-- Checkpoints that are new.
INSERT INTO bar_checkpoints (vendor, kind, key, span_from, span_to, rows, done_at)
SELECT $vendor, $kind, i.key, i.span_from, i.span_to, i.rows, $done_at
FROM incoming_checkpoints i
WHERE NOT EXISTS (SELECT 1 FROM bar_checkpoints c WHERE c.vendor = $vendor AND c.kind = $kind AND c.key = i.key);
