-- Keeps the row stored first; only an edit from outside can have put a bar there twice.
DELETE FROM daily_bars
WHERE rowid NOT IN (SELECT min(rowid) FROM daily_bars GROUP BY symbol, session);
