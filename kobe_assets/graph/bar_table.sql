-- Adjusted bars of the sorted symbols $names, from $first to $last, with their symbol's place among these, in any order: the view
-- adjusted_bars, with the listings looked up once for all parts, and bars joined by the place, which is cheaper than by name.
WITH places AS (
    SELECT unnest($names::VARCHAR[]) AS symbol, (generate_subscripts($names::VARCHAR[], 1) - 1)::INTEGER AS place
), starts AS (
    SELECT l.*, p.place FROM known_listings l JOIN places p USING (symbol)
), held AS (
    SELECT symbol, execution_date, product(split_from) AS split_from, product(split_to) AS split_to
    FROM splits
    WHERE symbol BETWEEN $first AND $last AND execution_date <= $last_session
    GROUP BY ALL
), placed AS (
    SELECT h.*, coalesce(s.listing, 1) AS listing, coalesce(s.since, DATE '0001-01-01') AS begins
    FROM held h LEFT JOIN starts s ON h.symbol = s.symbol AND h.execution_date >= s.since AND h.execution_date < s.until
), effective AS (
    SELECT p.place, execution_date,
           product(split_from / split_to) OVER later_ones AS factor,
           coalesce(lag(execution_date) OVER (PARTITION BY symbol, listing ORDER BY execution_date), begins) AS since
    FROM placed JOIN places p USING (symbol)
    WINDOW later_ones AS (PARTITION BY symbol, listing ORDER BY execution_date ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
), bars AS (
    SELECT p.place, b.* FROM asked_bars b JOIN places p USING (symbol)
)
SELECT b.place AS symbol, coalesce(s.listing, 1)::INTEGER AS listing, b.session,
       b.open * coalesce(e.factor, 1.0) AS open, b.high * coalesce(e.factor, 1.0) AS high,
       b.low * coalesce(e.factor, 1.0) AS low, b.close * coalesce(e.factor, 1.0) AS close,
       b.volume / coalesce(e.factor, 1.0) AS volume, coalesce(e.factor, 1.0) AS factor
FROM bars b
LEFT JOIN starts s ON b.place = s.place AND b.session >= s.since AND b.session < s.until
LEFT JOIN effective e ON b.place = e.place AND b.session >= e.since AND b.session < e.execution_date
