-- Dividends that may be one: two amounts of one kind on one ex-date, or one amount twice within days where months are usual.
WITH paid AS (
    SELECT DISTINCT d.symbol, d.ex_date, d.amount, d.kind FROM dividends d SEMI JOIN daily_bars b ON b.symbol = d.symbol
), steps AS (
    SELECT *, ex_date - lag(ex_date) OVER own AS days, lag(ex_date) OVER own AS day_before, lag(amount) OVER own AS amount_before,
           count(*) OVER (PARTITION BY symbol, kind) AS held
    FROM paid
    WINDOW own AS (PARTITION BY symbol, kind ORDER BY ex_date, amount)
), usual AS (
    -- Where all are listed twice, half of the steps are short; where weeks are usual, nearly all of them.
    SELECT symbol, kind, median(days) FILTER (days > $near) AS days
    FROM steps GROUP BY symbol, kind
    HAVING count(*) FILTER (days > $near) >= 0.3 * count(*) FILTER (days BETWEEN 1 AND $near)
)
SELECT s.symbol, s.ex_date, s.amount, s.day_before, s.amount_before, count(*) OVER () AS offenders
FROM steps s LEFT JOIN usual u USING (symbol, kind)
-- Of two in all nothing says what is usual.
WHERE s.days = 0 OR s.days <= $near AND (u.days > 1.5 * $near OR s.held = 2) AND abs(s.amount - s.amount_before) <= 0.01 * s.amount
ORDER BY s.amount DESC, s.symbol, s.ex_date
LIMIT $most
