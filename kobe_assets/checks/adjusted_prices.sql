-- Own files whose older closes lie between cents while the newest lie on them: adjusted for dividends or splits.
WITH bars AS (
    SELECT symbol, session, abs(close * 100 - round(close * 100)) > 1e-4 + close * 2e-5 AS odd
    FROM daily_bars b LEFT JOIN (SELECT symbol, max(execution_date) AS split FROM splits GROUP BY symbol) s USING (symbol)
    -- What lies before a split that is listed is judged by the jump that it made, or not.
    WHERE b.source = 'files' AND session >= greatest($decimals, coalesce(split, $decimals)) AND close >= 1
), spans AS (
    SELECT symbol, max(session) AS last, min(session) AS first, min(session) + ((max(session) - min(session)) // 2)::INTEGER AS middle
    FROM bars GROUP BY symbol HAVING count(*) >= $fewest AND bool_or(odd)
), odd_shares AS (
    SELECT symbol, any_value(first) AS session, any_value(last) AS until, avg(odd::INT) FILTER (session < middle) AS early,
           avg(odd::INT) FILTER (session >= last - 7) AS late
    FROM bars JOIN spans USING (symbol) GROUP BY symbol
)
SELECT symbol, session, until, early AS share, count(*) OVER () AS offenders
FROM odd_shares
WHERE early > $most_odd AND late = 0
ORDER BY share DESC, symbol
LIMIT $most
