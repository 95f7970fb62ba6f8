-- Dividends above the last stored close of the twenty days before their ex-date, a split of that day counted in.
WITH paid AS (
    SELECT place::BIGINT AS place, symbol::VARCHAR AS symbol, ex_date::DATE AS ex_date, amount::DOUBLE AS amount FROM incoming_frame
), split AS (
    SELECT symbol, execution_date AS ex_date, product(split_from / split_to) AS ratio FROM splits
    WHERE split_from > 0 AND split_to > 0 GROUP BY ALL
), around AS (
    SELECT p.*, b.close * coalesce(s.ratio, 1.0) AS worth, b.session
    FROM paid p ASOF JOIN (SELECT symbol, session, close FROM daily_bars SEMI JOIN paid USING (symbol)) b
      ON p.symbol = b.symbol AND p.ex_date > b.session
    LEFT JOIN split s ON s.symbol = p.symbol AND s.ex_date = p.ex_date
)
SELECT place, symbol, ex_date, amount, worth
FROM around
WHERE amount > worth AND session >= ex_date - 20
ORDER BY place
