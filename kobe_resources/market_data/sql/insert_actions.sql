INSERT INTO corporate_actions
SELECT DISTINCT symbol::VARCHAR, ex_date::DATE, kind::VARCHAR, other_symbol::VARCHAR, rate::DOUBLE, $source
FROM incoming_frame
WHERE ex_date::DATE BETWEEN $since AND $until
ORDER BY ALL;
