-- Listings (rules, section 1): more than 10 sessions without a bar part two listings of a symbol. Here are those after the first.
CREATE VIEW later_listings AS
WITH days AS (
    SELECT session, row_number() OVER (ORDER BY session) AS place FROM (SELECT DISTINCT session FROM daily_bars)
), spans AS (
    SELECT symbol, min(session) AS first, max(session) AS last, count(*) AS bars FROM daily_bars GROUP BY symbol
), gappy AS (
    -- Only a symbol that misses so many sessions can have a gap of them: of few need the bars be looked at in order.
    SELECT symbol FROM spans s JOIN days f ON f.session = s.first JOIN days l ON l.session = s.last
    WHERE l.place - f.place + 1 - s.bars > 10
), steps AS (
    SELECT symbol, session, place - lag(place) OVER (PARTITION BY symbol ORDER BY session) AS step
    FROM daily_bars SEMI JOIN gappy USING (symbol) JOIN days USING (session)
), later AS (
    SELECT symbol, session AS since, 1 + row_number() OVER (PARTITION BY symbol ORDER BY session) AS listing
    FROM steps WHERE step > 11
)
SELECT symbol, listing, since, lead(since, 1, DATE '9999-12-31') OVER (PARTITION BY symbol ORDER BY since) AS until FROM later;

-- A split scales the bars before it of its own listing; one announced for after the last stored session changes nothing yet.
DROP VIEW adjusted_bars;
CREATE VIEW adjusted_bars AS
WITH starts AS (
    SELECT * FROM later_listings
), held AS (
    SELECT symbol, execution_date, product(split_from) AS split_from, product(split_to) AS split_to
    FROM splits
    WHERE execution_date <= (SELECT max(session) FROM daily_bars)
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
)
SELECT b.symbol, coalesce(s.listing, 1)::INTEGER AS listing, b.session,
       b.open * coalesce(e.factor, 1.0) AS open, b.high * coalesce(e.factor, 1.0) AS high,
       b.low * coalesce(e.factor, 1.0) AS low, b.close * coalesce(e.factor, 1.0) AS close,
       b.volume / coalesce(e.factor, 1.0) AS volume, coalesce(e.factor, 1.0) AS factor
FROM daily_bars b
LEFT JOIN starts s ON b.symbol = s.symbol AND b.session >= s.since AND b.session < s.until
LEFT JOIN effective e ON b.symbol = e.symbol AND b.session >= e.since AND b.session < e.execution_date;
