-- Stored trades that were open on the days of each doubt, and what they made.
SELECT d.place, count(*) AS trades, sum(t.pnl) AS pnl
FROM doubts d
JOIN wf_trades t ON t.symbol = d.symbol AND t.entry_session <= d.until::DATE AND t.exit_session >= d.session::DATE
GROUP BY d.place
