-- Adjusted bars of one symbol in some sessions, in order.
SELECT session, open, high, low, close
FROM adjusted_bars
WHERE symbol = $symbol AND session BETWEEN $first AND $last
ORDER BY session
