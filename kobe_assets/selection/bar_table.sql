-- Adjusted bars of the symbols from $first to $last with their symbol's place in the sorted list of these, in any order: the view
-- adjusted_bars, with the listings looked up once for all parts.
WITH starts AS (
    SELECT * FROM known_listings WHERE symbol BETWEEN $first AND $last
), held AS (
    SELECT symbol, execution_date, product(split_from) AS split_from, product(split_to) AS split_to
    FROM splits
    WHERE symbol BETWEEN $first AND $last AND execution_date <= $last_session
    GROUP BY ALL
), placed AS (
    SELECT h.*, coalesce(s.listing, 1) AS listing, coalesce(s.since, DATE '0001-01-01') AS begins
    FROM held h LEFT JOIN starts s ON h.symbol = s.symbol AND h.execution_date >= s.since AND h.execution_date < s.until
), effective AS (
    SELECT symbol, execution_date,
           product(split_from / split_to) OVER later_ones AS factor,
           coalesce(lag(execution_date) OVER (PARTITION BY symbol, listing ORDER BY execution_date), begins) AS since
    FROM placed
    WINDOW later_ones AS (PARTITION BY symbol, listing ORDER BY execution_date ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
), bars AS (
    SELECT * FROM asked_bars WHERE symbol BETWEEN $first AND $last
), places AS (
    SELECT symbol, (row_number() OVER (ORDER BY symbol) - 1)::INTEGER AS place FROM (SELECT DISTINCT symbol FROM bars)
)
SELECT p.place AS symbol, coalesce(s.listing, 1)::INTEGER AS listing, b.session,
       b.open * coalesce(e.factor, 1.0) AS open, b.high * coalesce(e.factor, 1.0) AS high,
       b.low * coalesce(e.factor, 1.0) AS low, b.close * coalesce(e.factor, 1.0) AS close,
       b.volume / coalesce(e.factor, 1.0) AS volume, coalesce(e.factor, 1.0) AS factor
FROM bars b
JOIN places p ON b.symbol = p.symbol
LEFT JOIN starts s ON b.symbol = s.symbol AND b.session >= s.since AND b.session < s.until
LEFT JOIN effective e ON b.symbol = e.symbol AND b.session >= e.since AND b.session < e.execution_date
