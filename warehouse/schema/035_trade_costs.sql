-- Which strategy of a book entered each trade, what it paid and what it was paid.
ALTER TABLE wf_trades RENAME TO wf_trades_before;
CREATE TABLE wf_trades (
    strategy VARCHAR NOT NULL, mode VARCHAR NOT NULL, fold INTEGER NOT NULL, entered_by VARCHAR NOT NULL,
    symbol VARCHAR NOT NULL, side VARCHAR NOT NULL, signal_session DATE NOT NULL,
    entry_session DATE NOT NULL, entry_price DOUBLE NOT NULL, exit_session DATE NOT NULL, exit_price DOUBLE NOT NULL,
    exit_reason VARCHAR NOT NULL, shares DOUBLE NOT NULL, qty DOUBLE NOT NULL,
    fees DOUBLE NOT NULL, dividends DOUBLE NOT NULL, pnl DOUBLE NOT NULL,
    bars_held INTEGER NOT NULL, mae DOUBLE NOT NULL, mfe DOUBLE NOT NULL
);
INSERT INTO wf_trades BY NAME SELECT *, strategy AS entered_by, 0.0 AS fees, 0.0 AS dividends FROM wf_trades_before;
DROP TABLE wf_trades_before;

-- A strategy may have no stop.
ALTER TABLE signals ALTER COLUMN stop_distance DROP NOT NULL;

-- What makes two tries one: the vendor, and the terms (lag, entry mode, windows, the strategy's source); NULL in older rows.
ALTER TABLE wf_trials ADD COLUMN vendor VARCHAR;
ALTER TABLE wf_trials ADD COLUMN terms VARCHAR;
