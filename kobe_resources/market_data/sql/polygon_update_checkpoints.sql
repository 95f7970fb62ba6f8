-- Checkpoints that stand move on; their rows are counted on.
UPDATE bar_checkpoints
SET span_from = i.span_from, span_to = i.span_to, rows = bar_checkpoints.rows + i.rows, done_at = $done_at
FROM incoming_checkpoints i
WHERE bar_checkpoints.vendor = $vendor AND bar_checkpoints.kind = $kind AND bar_checkpoints.key = i.key;
