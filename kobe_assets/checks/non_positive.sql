SELECT symbol, session, open, high, low, close, volume, count(*) OVER () AS offenders
FROM daily_bars
WHERE NOT (isfinite(open) AND isfinite(high) AND isfinite(low) AND isfinite(close) AND isfinite(volume))
   OR least(open, high, low, close) <= 0 OR volume < 0
ORDER BY symbol, session
LIMIT $most
