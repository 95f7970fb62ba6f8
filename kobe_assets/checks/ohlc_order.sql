SELECT symbol, session, open, high, low, close, count(*) OVER () AS offenders
FROM daily_bars
WHERE high < low OR high < greatest(open, close) OR low > least(open, close)
ORDER BY greatest(low - high, greatest(open, close) - high, low - least(open, close)) / close DESC, symbol, session
LIMIT $most
