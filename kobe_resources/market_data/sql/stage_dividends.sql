-- Equal rows once, and of one kind and day an amount that only rounds another one is that one.
CREATE OR REPLACE TEMP TABLE incoming_dividends AS
WITH given AS (
    SELECT symbol::VARCHAR AS symbol, ex_date::DATE AS ex_date, amount::DOUBLE AS amount, kind::VARCHAR AS kind,
           min(pay_date::DATE) AS pay_date
    FROM incoming_frame
    WHERE ex_date::DATE BETWEEN $since AND $until
    GROUP BY ALL
), told AS (
    SELECT *, length(split_part(amount::VARCHAR, '.', 2))::INTEGER AS digits FROM given
)
SELECT symbol, ex_date, amount, kind, pay_date
FROM told r
WHERE NOT EXISTS (
    SELECT 1 FROM told o
    WHERE o.symbol = r.symbol AND o.ex_date = r.ex_date AND o.kind = r.kind AND o.digits > r.digits
      AND abs(o.amount - r.amount) <= 0.5 * power(10.0, -greatest(r.digits, 2)) + 1e-9
);
