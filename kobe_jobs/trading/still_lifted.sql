-- Open positions whose stop was taken away for a split of the session `until`, and none was set since.
SELECT p.id, p.symbol, max(json_extract(lifted.body, '$.until')) AS until
FROM positions p
JOIN audit lifted ON lifted.kind = 'stop_lifted' AND json_extract(lifted.body, '$.position') = p.id
WHERE p.is_open = 1 AND p.account LIKE ? AND NOT EXISTS (
    SELECT 1 FROM intents stop
    WHERE stop.position_id = p.id AND stop.leg LIKE 'stop%' AND stop.acknowledged = 1 AND stop.created_at > lifted.time
)
GROUP BY p.id, p.symbol
ORDER BY p.symbol
