-- Symbols of which the last load restated more than a few closes, and the factor where it was one and the same.
WITH last_load AS (SELECT max(loaded_at) AS at FROM bar_loads)
SELECT symbol, min(session) AS session, max(session) AS until, count(*) AS bars, median(new / old) AS factor,
       max(new / old) / min(new / old) < 1.02 AS one_factor, count(*) OVER () AS offenders
FROM bar_revisions, last_load
WHERE seen_at >= last_load.at AND field = 'close' AND old > 0 AND new > 0
GROUP BY symbol
HAVING count(*) >= 20 OR max(abs(ln(new / old))) > 0.05
ORDER BY bars DESC, symbol
LIMIT $most
