-- Indicators with the place of their symbol in the panel's sorted list (-1: not in it) and the day of their session since 1970, in
-- any order. No indicator can be called as the first two columns.
SELECT coalesce(s.place, -1) AS symbol, (i.session - DATE '1970-01-01')::INTEGER AS "its day", i.* EXCLUDE (symbol, session)
FROM indicators i
LEFT JOIN panel_places s USING (symbol)
