SELECT symbol, session, count(*) AS copies, count(*) OVER () AS offenders
FROM daily_bars
GROUP BY symbol, session
HAVING count(*) > 1
ORDER BY copies DESC, symbol, session
LIMIT 20
