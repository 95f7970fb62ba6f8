-- Counted apart: a window over the offenders would let one thread alone look through the bars.
WITH offending AS MATERIALIZED (
    SELECT symbol, session, open, high, low, close
    FROM daily_bars
    WHERE high < low OR high < open OR high < close OR low > open OR low > close
)
SELECT *, (SELECT count(*) FROM offending) AS offenders
FROM offending
ORDER BY greatest(low - high, greatest(open, close) - high, low - least(open, close)) / close DESC, symbol, session
LIMIT $most
