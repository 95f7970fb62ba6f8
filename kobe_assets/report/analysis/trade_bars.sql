-- Adjusted bars with the indicators a reader judges a trade by, inside the registered windows (symbol, since, until).
WITH wanted AS (
    SELECT b.symbol, b.session, b.open, b.high, b.low, b.close
    FROM adjusted_bars b
    JOIN windows w ON b.symbol = w.symbol AND b.session BETWEEN w.since AND w.until
)
SELECT wanted.*, i.* EXCLUDE (symbol, session)
FROM wanted
LEFT JOIN indicators i ON i.symbol = wanted.symbol AND i.session = wanted.session
ORDER BY wanted.symbol, wanted.session
