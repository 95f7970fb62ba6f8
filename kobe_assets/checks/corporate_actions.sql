-- Corporate actions of candidates with bars, those first that move a price: no bar is adjusted for any of them.
SELECT a.symbol, a.ex_date, a.kind, a.other_symbol, a.rate, count(*) OVER () AS offenders
FROM corporate_actions a SEMI JOIN candidates c USING (symbol)
WHERE a.ex_date BETWEEN (SELECT min(session) FROM daily_bars WHERE symbol = a.symbol)
                    AND (SELECT max(session) FROM daily_bars)
ORDER BY a.kind <> 'spin_off', a.kind = 'name_change', a.ex_date DESC, a.symbol, a.kind
LIMIT $most
