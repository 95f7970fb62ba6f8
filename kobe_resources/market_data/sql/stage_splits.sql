CREATE OR REPLACE TEMP TABLE incoming_splits AS
SELECT DISTINCT symbol::VARCHAR AS symbol, execution_date::DATE AS execution_date,
       split_from::DOUBLE AS split_from, split_to::DOUBLE AS split_to
FROM incoming_frame
WHERE execution_date::DATE BETWEEN $since AND $until;
