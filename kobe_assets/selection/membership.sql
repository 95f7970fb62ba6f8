-- Dollar volume of every candidate's bars, with the places of symbol and session in their sorted lists.
SELECT s.place AS symbol, d.place AS session, b.close * b.volume AS dollars
FROM daily_bars b
JOIN (
    SELECT symbol, (row_number() OVER (ORDER BY symbol) - 1)::INTEGER AS place
    FROM (SELECT DISTINCT symbol FROM daily_bars SEMI JOIN candidates USING (symbol))
) s USING (symbol)
JOIN (
    SELECT session, (row_number() OVER (ORDER BY session) - 1)::INTEGER AS place FROM (SELECT DISTINCT session FROM daily_bars)
) d USING (session)
