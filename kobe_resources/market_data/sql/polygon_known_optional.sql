-- Incoming bars, with the stored vwap and trades where they bring none.
SELECT i.* REPLACE (coalesce(i.vwap, s.vwap) AS vwap, coalesce(i.trades, s.trades::DOUBLE) AS trades)
FROM incoming_optional i
LEFT JOIN (
    SELECT d.symbol, d.session, any_value(d.vwap) AS vwap, any_value(d.trades) AS trades
    FROM daily_bars d SEMI JOIN incoming_optional o ON d.symbol = o.symbol AND d.session = o.session
    GROUP BY ALL
) s ON i.symbol = s.symbol AND i.session = s.session;
