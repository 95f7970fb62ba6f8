-- Symbols that paid more than a part $most_yield of their price in one calendar year: amounts of another share, currency or unit?
WITH paid AS (
    SELECT DISTINCT symbol, ex_date, amount, kind FROM dividends
), before AS (
    SELECT p.symbol, p.ex_date, p.amount, b.close
    FROM paid p ASOF JOIN (SELECT symbol, session, close FROM daily_bars SEMI JOIN paid USING (symbol)) b
      ON p.symbol = b.symbol AND p.ex_date > b.session
), years AS (
    SELECT symbol, year(ex_date) AS year, min(ex_date) AS session, sum(amount / close) AS share, count(*) AS paid
    FROM before WHERE close > 0 GROUP BY symbol, year(ex_date)
    HAVING sum(amount / close) > $most_yield
)
SELECT symbol, arg_max(session, share) AS session, max(share) AS share, arg_max(paid, share) AS paid, count(*) OVER () AS offenders
FROM years GROUP BY symbol
ORDER BY share DESC, symbol
LIMIT $most
