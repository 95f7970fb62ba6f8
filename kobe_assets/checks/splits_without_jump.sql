-- Splits that fall between two bars of their symbol, with the raw prices around them. Small ones drown in the day's move.
WITH held AS (
    SELECT symbol, execution_date, sum(ln(split_from / split_to)) AS expected
    FROM (SELECT DISTINCT symbol, execution_date, split_from, split_to FROM splits WHERE split_from > 0 AND split_to > 0)
    GROUP BY symbol, execution_date
    HAVING abs(expected) > $smallest
), around AS (
    SELECT h.symbol, h.execution_date, h.expected,
           max_by(b.close, b.session) FILTER (b.session < h.execution_date) AS close_before,
           min_by(b.open, b.session) FILTER (b.session >= h.execution_date) AS open_after,
           min_by(b.close, b.session) FILTER (b.session >= h.execution_date) AS close_after
    FROM held h JOIN daily_bars b USING (symbol)
    WHERE b.session BETWEEN h.execution_date - INTERVAL 20 DAYS AND h.execution_date + INTERVAL 20 DAYS
    GROUP BY h.symbol, h.execution_date, h.expected
)
SELECT symbol, execution_date, exp(expected) AS expected_ratio, open_after / close_before AS open_ratio,
       close_after / close_before AS close_ratio, count(*) OVER () AS offenders
FROM around
-- The jump is there where the open or the close lies nearer to the split's ratio than to no move at all.
WHERE least(close_before, open_after, close_after) > 0
  AND abs(ln(open_after / close_before) - expected) > abs(ln(open_after / close_before))
  AND abs(ln(close_after / close_before) - expected) > abs(ln(close_after / close_before))
ORDER BY abs(expected) DESC, symbol, execution_date
LIMIT $most
