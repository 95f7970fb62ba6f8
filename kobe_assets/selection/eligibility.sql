-- What the bars say about every candidate. Averages are over a symbol's last $window bars, as traded.
SELECT c.symbol,
       min(b.session) AS first_session,
       max(b.session) AS last_session,
       count(b.session)::INTEGER AS sessions,
       (max(b.session) - min(b.session)) / 365.25 AS years,
       list_avg(arg_max(b.volume, b.session, $window)) AS adv_shares,
       list_avg(arg_max(b.close * b.volume, b.session, $window)) AS adv_usd,
       any_value(o.has_options) AS has_options
FROM (SELECT DISTINCT symbol FROM candidates) c
LEFT JOIN daily_bars b USING (symbol)
LEFT JOIN option_evidence o USING (symbol)
GROUP BY c.symbol
ORDER BY c.symbol
