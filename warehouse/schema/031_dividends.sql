-- Cash dividends as paid: dollars a share as traded on the ex-date. A regular and a special one of one day are two rows.
CREATE TABLE dividends (
    symbol VARCHAR NOT NULL, ex_date DATE NOT NULL, amount DOUBLE NOT NULL,
    kind VARCHAR NOT NULL, pay_date DATE, source VARCHAR NOT NULL
);

-- Dividends as they came and went; `change` is added or removed.
CREATE TABLE dividend_revisions (
    symbol VARCHAR NOT NULL, ex_date DATE NOT NULL, amount DOUBLE NOT NULL, kind VARCHAR NOT NULL, pay_date DATE,
    change VARCHAR NOT NULL, seen_at TIMESTAMPTZ NOT NULL
);
