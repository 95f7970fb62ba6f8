-- Adjusted bars of the symbols from $first to $last, with their symbol's place in the sorted list of these, in any order.
SELECT s.place AS symbol, b.listing, b.session, b.open, b.high, b.low, b.close, b.volume, b.factor
FROM adjusted_bars b
JOIN (
    SELECT symbol, (row_number() OVER (ORDER BY symbol) - 1)::INTEGER AS place
    FROM (SELECT DISTINCT symbol FROM daily_bars WHERE symbol BETWEEN $first AND $last)
) s USING (symbol)
WHERE b.symbol BETWEEN $first AND $last
