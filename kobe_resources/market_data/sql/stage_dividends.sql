CREATE OR REPLACE TEMP TABLE incoming_dividends AS
SELECT DISTINCT symbol::VARCHAR AS symbol, ex_date::DATE AS ex_date, amount::DOUBLE AS amount,
       kind::VARCHAR AS kind, pay_date::DATE AS pay_date
FROM incoming_frame
WHERE ex_date::DATE BETWEEN $since AND $until;
