INSERT INTO bar_refusals
SELECT $vendor, symbol, execution_date::DATE, printf('split %g:%g listed %d times, stored once', min(split_to)::DOUBLE, min(split_from)::DOUBLE, count(*)), $seen_at
FROM incoming_frame
WHERE execution_date::DATE BETWEEN $since AND $until
GROUP BY symbol, execution_date, round(split_from::DOUBLE / split_to::DOUBLE, 9)
HAVING count(*) > 1;
