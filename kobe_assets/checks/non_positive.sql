-- Counted apart: a window over the offenders would let one thread alone look through the bars.
WITH offending AS MATERIALIZED (
    SELECT symbol, session, open, high, low, close, volume
    FROM daily_bars
    WHERE NOT (isfinite(open) AND isfinite(high) AND isfinite(low) AND isfinite(close) AND isfinite(volume))
       OR open <= 0 OR high <= 0 OR low <= 0 OR close <= 0 OR volume < 0
)
SELECT *, (SELECT count(*) FROM offending) AS offenders
FROM offending
ORDER BY symbol, session
LIMIT $most
