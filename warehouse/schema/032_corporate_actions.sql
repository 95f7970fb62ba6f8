-- What happened to companies besides splits and cash dividends: named in a check, not applied to any price.
-- kind: spin_off, name_change, cash_merger, … `rate`: as the vendor gives it, dollars or shares a share.
CREATE TABLE corporate_actions (
    symbol VARCHAR NOT NULL, ex_date DATE NOT NULL, kind VARCHAR NOT NULL, other_symbol VARCHAR, rate DOUBLE,
    source VARCHAR NOT NULL
);
