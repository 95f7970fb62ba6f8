-- Candidates with many bars and none on any Monday, or on any Friday: what a day of the market shows of dates that are a day
-- late, or early, since their Saturdays and Sundays are never asked for.
SELECT symbol FROM daily_bars SEMI JOIN candidates USING (symbol)
GROUP BY symbol
HAVING count(*) >= $fewest AND (count(*) FILTER (isodow(session) = 1) = 0 OR count(*) FILTER (isodow(session) = 5) = 0)
ORDER BY symbol;
