SELECT symbol, session, reason, max(seen_at) AS seen_at, count(*) OVER () AS offenders
FROM bar_refusals
GROUP BY symbol, session, reason
ORDER BY seen_at DESC, symbol, session
LIMIT $most
