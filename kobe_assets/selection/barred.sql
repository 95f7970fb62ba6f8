-- Symbols by whose bars nothing may be decided, and why. Reads the table `contradictory_splits`.
WITH held AS (
    SELECT symbol, execution_date, sum(ln(split_from / split_to)) AS expected
    FROM (SELECT DISTINCT symbol, execution_date, split_from, split_to FROM splits WHERE split_from > 0 AND split_to > 0)
    GROUP BY symbol, execution_date
    HAVING abs(expected) > $smallest
), around AS (
    -- The days about each split. The bar before the first of them counts too: to sort all bars of a symbol takes longest.
    SELECT h.symbol, h.execution_date, h.expected, coalesce(max(b.session), DATE '0001-01-01') AS since,
           h.execution_date + greatest(20, $misdated) AS until
    FROM held h LEFT JOIN daily_bars b
      ON b.symbol = h.symbol AND b.session < h.execution_date - $misdated AND least(b.open, b.close) > 0
    GROUP BY h.symbol, h.execution_date, h.expected
), steps AS (
    SELECT a.symbol, execution_date, expected, session,
           ln(open / lag(close) OVER own) AS opened, ln(close / lag(close) OVER own) AS closed
    FROM daily_bars b JOIN around a ON b.symbol = a.symbol AND b.session BETWEEN a.since AND a.until
    WHERE least(open, close) > 0
    WINDOW own AS (PARTITION BY a.symbol, execution_date ORDER BY session)
), listed AS (
    -- The move of the first bar on or after each split's date.
    SELECT symbol, execution_date, expected, min(session) AS session, arg_min(opened, session) AS opened,
           arg_min(closed, session) AS closed
    FROM steps
    WHERE session BETWEEN execution_date AND execution_date + 20
    GROUP BY symbol, execution_date, expected
)
SELECT DISTINCT symbol, 'contradictory_splits' AS reason FROM contradictory_splits
UNION ALL
-- No jump on the listed day, and one of just this ratio within days: the date is wrong.
SELECT DISTINCT l.symbol, 'misdated_split'
FROM listed l JOIN steps s ON s.symbol = l.symbol AND s.execution_date = l.execution_date
  AND abs(s.session - l.execution_date) <= $misdated AND s.session <> l.session
WHERE abs(l.opened - l.expected) > abs(l.opened) AND abs(l.closed - l.expected) > abs(l.closed)
  AND abs(s.opened - l.expected) < 0.25 * abs(l.expected) AND abs(s.closed - l.expected) < 0.5 * abs(l.expected)
  AND l.symbol NOT IN (SELECT symbol FROM contradictory_splits)
UNION ALL
-- No jump on the listed day, and another split of the symbol within days: one split, listed a second time with a wrong ratio.
SELECT DISTINCT l.symbol, 'misdated_split'
FROM listed l JOIN held o ON o.symbol = l.symbol AND o.execution_date <> l.execution_date
  AND abs(o.execution_date - l.execution_date) <= $days
WHERE abs(l.opened - l.expected) > abs(l.opened) AND abs(l.closed - l.expected) > abs(l.closed)
  AND l.symbol NOT IN (SELECT symbol FROM contradictory_splits)
UNION ALL
SELECT symbol, 'no_volume' FROM daily_bars GROUP BY symbol HAVING max(volume) = 0
