-- The signals of one strategy in a window, in trading order (rules, section 3).
SELECT session, symbol, side, score, close, raw_close, stop_distance, rsi2, ibs, sma200, atr14, "values"
FROM signals
WHERE strategy = $strategy AND session BETWEEN $first AND $last
ORDER BY session, score, symbol
