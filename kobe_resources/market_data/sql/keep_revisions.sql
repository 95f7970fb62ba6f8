-- One row a changed field; a bar taken back gives one for every field, so that a read as of before finds all of it.
INSERT INTO bar_revisions (symbol, session, field, old, new, seen_at, old_fetched_at)
SELECT symbol, session, field, old, new, $seen_at, old_fetched_at
FROM (
    SELECT symbol, session, change, old_fetched_at, unnest([
        {'field': 'open', 'old': old_open, 'new': open},
        {'field': 'high', 'old': old_high, 'new': high},
        {'field': 'low', 'old': old_low, 'new': low},
        {'field': 'close', 'old': old_close, 'new': close},
        {'field': 'volume', 'old': old_volume, 'new': volume},
        {'field': 'vwap', 'old': old_vwap, 'new': vwap},
        {'field': 'trades', 'old': old_trades::DOUBLE, 'new': trades::DOUBLE}
    ], recursive := true)
    FROM bar_changes
    WHERE change <> 'added'
)
WHERE change = 'removed' OR old IS DISTINCT FROM new
ORDER BY symbol, session, field;
