SELECT count(*) AS bars, count(DISTINCT symbol) AS symbols, count(DISTINCT session) AS sessions,
       min(session) AS first_session, max(session) AS last_session
FROM daily_bars
