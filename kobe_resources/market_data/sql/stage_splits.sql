-- One ratio of one day once, however it is written: 3 for 2 is 1.5 for 1.
CREATE OR REPLACE TEMP TABLE incoming_splits AS
SELECT symbol::VARCHAR AS symbol, execution_date::DATE AS execution_date,
       split_from::DOUBLE AS split_from, split_to::DOUBLE AS split_to
FROM incoming_frame
WHERE execution_date::DATE BETWEEN $since AND $until
QUALIFY row_number() OVER (
    PARTITION BY symbol, execution_date, round(split_from::DOUBLE / split_to::DOUBLE, 9)
    ORDER BY split_from::DOUBLE <> floor(split_from::DOUBLE) OR split_to::DOUBLE <> floor(split_to::DOUBLE), split_from, split_to
) = 1;
