-- Each amount of a kind and day once, with the earliest of its pay dates.
CREATE OR REPLACE TEMP TABLE incoming_dividends AS
SELECT symbol::VARCHAR AS symbol, ex_date::DATE AS ex_date, amount::DOUBLE AS amount, kind::VARCHAR AS kind,
       min(pay_date::DATE) AS pay_date
FROM incoming_frame
WHERE ex_date::DATE BETWEEN $since AND $until
GROUP BY ALL;
