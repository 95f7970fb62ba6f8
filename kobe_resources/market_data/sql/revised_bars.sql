-- Symbols whose stored bars loads restated or took back, the most first, and the factor where all closes moved by one.
SELECT symbol, count(DISTINCT session) FILTER (new IS NOT NULL) AS restated, count(DISTINCT session) FILTER (new IS NULL) AS taken_back,
       median(new / old) FILTER (field = 'close' AND old > 0 AND new > 0) AS factor,
       count(*) FILTER (field = 'close' AND new > 0) = restated
           AND coalesce(max(new / old) FILTER (field = 'close' AND old > 0) / min(new / old) FILTER (field = 'close' AND new > 0) < 1.001, false)
           AS one_factor,
       count(*) OVER () AS symbols
FROM bar_revisions
WHERE seen_at >= $since AND ($symbol IS NULL OR symbol = $symbol) AND (old IS NOT NULL OR new IS NOT NULL)
GROUP BY symbol
ORDER BY restated + taken_back DESC, symbol
LIMIT $most
