SELECT symbol, count(*) AS bars, min(session) AS first_session, max(session) AS last_session, count(*) OVER () AS offenders
FROM daily_bars ANTI JOIN candidates USING (symbol)
GROUP BY symbol
ORDER BY bars DESC, symbol
LIMIT $most
