-- Every out-of-sample trade with the ATR its stop was set by: read `lag` bars of the symbol before the signal (rules, section 3).
WITH as_read AS (
    SELECT symbol, session, lag(atr14, $lag) OVER (PARTITION BY symbol ORDER BY session) AS atr14
    FROM indicators
    WHERE symbol IN (SELECT DISTINCT symbol FROM wf_trades)
)
SELECT t.*, a.atr14 AS signal_atr
FROM wf_trades t
LEFT JOIN as_read a ON a.symbol = t.symbol AND a.session = t.signal_session
