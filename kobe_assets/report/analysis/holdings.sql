-- Positions and dollars in the market at the close of each session, for each book and fold; a symbol without a bar counts
-- with its last close. An exit happens at the open, in the bar, or at the close: at that close it is no position any more.
WITH held AS (
    SELECT t.strategy, t.mode, t.fold, e.session, abs(t.shares) AS shares,
           coalesce(
               last_value(b.close IGNORE NULLS) OVER (
                   PARTITION BY t.strategy, t.mode, t.fold, t.symbol, t.entry_session ORDER BY e.session
               ),
               t.entry_price
           ) AS close
    FROM wf_trades t
    JOIN wf_equity e USING (strategy, mode, fold)
    LEFT JOIN adjusted_bars b ON b.symbol = t.symbol AND b.session = e.session
    WHERE e.session >= t.entry_session AND e.session < t.exit_session
)
SELECT strategy, mode, fold, session, count(*)::INTEGER AS positions, sum(shares * close ORDER BY shares * close) AS invested
FROM held
GROUP BY ALL
ORDER BY ALL
