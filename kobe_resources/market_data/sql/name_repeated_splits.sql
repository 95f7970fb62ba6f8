INSERT INTO bar_refusals
SELECT $vendor, symbol, execution_date::DATE, printf('split %g:%g listed %d times, stored once', split_to::DOUBLE, split_from::DOUBLE, count(*)), $seen_at
FROM incoming_frame
WHERE execution_date::DATE BETWEEN $since AND $until
GROUP BY symbol, execution_date, split_from, split_to
HAVING count(*) > 1;
