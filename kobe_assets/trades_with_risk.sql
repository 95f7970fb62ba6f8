-- Trades with the dollars between fill and stop, from the ATR their signal read (`lag` bars before the signal's bar).
WITH read AS (
    SELECT symbol, session, lag(atr14, $lag::INTEGER) OVER (PARTITION BY symbol ORDER BY session) AS atr14 FROM indicators
    WHERE symbol IN (SELECT symbol FROM wf_trades)
)
SELECT t.*, t.shares * r.atr14 * CAST(f.params ->> 'atr_stop' AS DOUBLE) AS risk
FROM wf_trades t
JOIN wf_folds f USING (strategy, mode, fold)
JOIN read r ON r.symbol = t.symbol AND r.session = t.signal_session
ORDER BY t.strategy, t.mode, t.fold, t.exit_session, t.entry_session, t.symbol
