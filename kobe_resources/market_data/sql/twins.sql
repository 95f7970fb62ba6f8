-- Pairs of symbols that share bars to the last digit: one company under two names. `loser` is the one whose bars end first.
WITH traded AS (SELECT symbol, session, open, high, low, close, volume FROM daily_bars WHERE volume > 0),
pairs AS (
    SELECT a.symbol AS one, b.symbol AS two, count(*) AS shared, max(a.session) AS last_shared
    FROM traded a JOIN traded b USING (session, open, high, low, close, volume)
    WHERE a.symbol < b.symbol
    GROUP BY ALL
    HAVING count(*) >= $least
),
ends AS (SELECT symbol, max(session) AS last FROM daily_bars GROUP BY symbol)
SELECT CASE WHEN o.last < t.last THEN one ELSE two END AS loser, CASE WHEN o.last < t.last THEN two ELSE one END AS heir,
       last_shared, shared
FROM pairs JOIN ends o ON o.symbol = one JOIN ends t ON t.symbol = two
ORDER BY shared DESC, loser;
