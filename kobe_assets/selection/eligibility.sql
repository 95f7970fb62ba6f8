-- What the bars of its last listing say about every candidate. Averages are over a symbol's last $window bars, as traded;
-- last_bars_since has a day on or before the first of them.
SELECT c.symbol,
       min(b.session) AS first_session,
       max(b.session) AS last_session,
       count(b.session)::INTEGER AS sessions,
       (max(b.session) - min(b.session)) / 365.25 AS years,
       list_avg(arg_max(b.volume, b.session, $window) FILTER (b.session >= a.since)) AS adv_shares,
       list_avg(arg_max(b.close * b.volume, b.session, $window) FILTER (b.session >= a.since)) AS adv_usd,
       any_value(o.has_options) AS has_options
FROM (SELECT DISTINCT symbol FROM candidates) c
LEFT JOIN (SELECT symbol, max(since) AS since FROM known_listings GROUP BY symbol) l USING (symbol)
LEFT JOIN daily_bars b ON b.symbol = c.symbol AND b.session >= coalesce(l.since, DATE '0001-01-01')
LEFT JOIN last_bars_since a ON a.symbol = c.symbol
LEFT JOIN option_evidence o ON o.symbol = c.symbol
GROUP BY c.symbol
ORDER BY c.symbol
