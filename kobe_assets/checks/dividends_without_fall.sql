-- Dividends that are a large part of the close before them, where the price on the ex-date fell by less than half of them.
WITH paid AS (
    SELECT symbol, ex_date, sum(amount) AS amount
    FROM (SELECT DISTINCT symbol, ex_date, amount, kind FROM dividends)
    GROUP BY symbol, ex_date
), around AS (
    SELECT p.symbol, p.ex_date, p.amount,
           max_by(b.close, b.session) FILTER (b.session < p.ex_date) AS close_before,
           min_by(least(b.open, b.close), b.session) FILTER (b.session >= p.ex_date) AS price_after
    FROM paid p JOIN daily_bars b USING (symbol)
    WHERE b.session BETWEEN p.ex_date - INTERVAL 20 DAYS AND p.ex_date + INTERVAL 20 DAYS
    GROUP BY p.symbol, p.ex_date, p.amount
), split AS (
    SELECT symbol, execution_date AS ex_date, product(split_from / split_to) AS ratio
    FROM splits GROUP BY ALL
)
SELECT symbol, ex_date, amount, close_before, price_after, count(*) OVER () AS offenders
FROM around LEFT JOIN split USING (symbol, ex_date)
WHERE amount > $large * close_before * coalesce(ratio, 1.0)
  AND close_before * coalesce(ratio, 1.0) - price_after < amount / 2
ORDER BY amount / close_before DESC, symbol, ex_date
LIMIT $most
