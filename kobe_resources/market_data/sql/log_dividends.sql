-- Dividends that come and go within the window, before they do.
INSERT INTO dividend_revisions (symbol, ex_date, amount, kind, pay_date, change, seen_at)
SELECT *, 'added', $seen_at
FROM (
    SELECT symbol, ex_date, amount, kind, pay_date FROM incoming_dividends
    EXCEPT SELECT symbol, ex_date, amount, kind, pay_date FROM dividends
)
UNION ALL
SELECT *, 'removed', $seen_at
FROM (
    SELECT symbol, ex_date, amount, kind, pay_date FROM dividends WHERE ex_date BETWEEN $since AND $until
    EXCEPT SELECT symbol, ex_date, amount, kind, pay_date FROM incoming_dividends
)
RETURNING change;
