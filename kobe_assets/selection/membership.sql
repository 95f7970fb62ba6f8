-- Dollar volume of every candidate's bars, with the places of listing and session in their sorted lists.
SELECT s.place AS symbol, d.place AS session, b.close * b.volume AS dollars
FROM daily_bars b
JOIN member_listings s ON b.symbol = s.symbol AND b.session >= s.since AND b.session < s.until
JOIN (
    SELECT session, (row_number() OVER (ORDER BY session) - 1)::INTEGER AS place FROM (SELECT DISTINCT session FROM daily_bars)
) d USING (session)
