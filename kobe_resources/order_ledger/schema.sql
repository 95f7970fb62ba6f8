-- The order ledger: what was decided, sent, answered, filled and held. Money and shares are decimal TEXT, sessions ISO dates, times UTC.
-- `account` is 'stage:number', so that no stage ever reads another's orders.

CREATE TABLE IF NOT EXISTS ledger_version (version INTEGER NOT NULL);

CREATE TABLE IF NOT EXISTS intents (
    client_order_id TEXT PRIMARY KEY,
    account TEXT NOT NULL, strategy TEXT NOT NULL,
    session TEXT NOT NULL, signal_session TEXT NOT NULL,
    symbol TEXT NOT NULL, side TEXT NOT NULL CHECK (side IN ('buy', 'sell')),
    leg TEXT NOT NULL, rank INTEGER NOT NULL, position_id TEXT,
    kind TEXT NOT NULL, time_in_force TEXT NOT NULL,
    qty TEXT NOT NULL, limit_price TEXT, stop_price TEXT, stop_distance TEXT,
    state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', detail TEXT NOT NULL DEFAULT '',
    reserved TEXT NOT NULL DEFAULT '0', spent TEXT NOT NULL DEFAULT '0',
    filled_qty TEXT NOT NULL DEFAULT '0', filled_avg_price TEXT,
    broker_order_id TEXT, acknowledged INTEGER NOT NULL DEFAULT 0, posts INTEGER NOT NULL DEFAULT 0,
    owner TEXT, lease_until TEXT, misses INTEGER NOT NULL DEFAULT 0, first_missed_at TEXT,
    decision TEXT NOT NULL DEFAULT '{}', config_pin TEXT NOT NULL, run_id TEXT NOT NULL,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS intents_by_session ON intents (account, session);
CREATE INDEX IF NOT EXISTS intents_unsettled ON intents (account, state)
    WHERE state IN ('INTENT', 'SUBMITTING', 'ACCEPTED', 'UNKNOWN', 'NOT_PLACED');
CREATE INDEX IF NOT EXISTS intents_by_position ON intents (position_id);

-- One row each time an order was seen to have filled further; `cum_qty` makes a second look harmless.
CREATE TABLE IF NOT EXISTS fills (
    client_order_id TEXT NOT NULL REFERENCES intents, cum_qty TEXT NOT NULL,
    account TEXT NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL,
    qty TEXT NOT NULL, price TEXT NOT NULL, session TEXT NOT NULL, at TEXT NOT NULL,
    PRIMARY KEY (client_order_id, cum_qty)
);

-- `id` is the client id of the entry. qty is what is open, unsigned, in shares as traded now; prices likewise.
CREATE TABLE IF NOT EXISTS positions (
    id TEXT PRIMARY KEY REFERENCES intents,
    account TEXT NOT NULL, strategy TEXT NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL CHECK (side IN ('long', 'short')),
    signal_session TEXT NOT NULL, entry_session TEXT NOT NULL, entry_qty TEXT NOT NULL, entry_price TEXT NOT NULL,
    qty TEXT NOT NULL, stop_distance TEXT NOT NULL, stop_price TEXT NOT NULL, split_factor TEXT NOT NULL DEFAULT '1',
    splits_through TEXT NOT NULL, bars_held INTEGER NOT NULL DEFAULT 0, bars_through TEXT, flag TEXT,
    exit_session TEXT, exit_qty TEXT NOT NULL DEFAULT '0', exit_value TEXT NOT NULL DEFAULT '0', exit_reason TEXT,
    is_open INTEGER NOT NULL DEFAULT 1, opened_at TEXT NOT NULL, closed_at TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS one_open_position ON positions (account, symbol) WHERE is_open = 1;

CREATE TABLE IF NOT EXISTS session_claims (
    account TEXT NOT NULL, session TEXT NOT NULL, strategy TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'halted', 'done')),
    owner TEXT NOT NULL, lease_until TEXT NOT NULL, run_id TEXT NOT NULL, runs INTEGER NOT NULL DEFAULT 1,
    confirmed_by TEXT, note TEXT NOT NULL DEFAULT '', started_at TEXT NOT NULL, ended_at TEXT,
    PRIMARY KEY (account, session)
);

CREATE TABLE IF NOT EXISTS reconciliations (
    id INTEGER PRIMARY KEY, account TEXT NOT NULL, session TEXT NOT NULL, moment TEXT NOT NULL, at TEXT NOT NULL,
    run_id TEXT NOT NULL, agrees INTEGER NOT NULL, differences TEXT NOT NULL, snapshot TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS audit (
    seq INTEGER PRIMARY KEY, time TEXT NOT NULL, prev TEXT NOT NULL, pin TEXT NOT NULL,
    kind TEXT NOT NULL, body TEXT NOT NULL, hash TEXT NOT NULL
);
-- One row: the head of the chain, and how far audit.jsonl is known to hold it.
CREATE TABLE IF NOT EXISTS audit_head (
    only INTEGER PRIMARY KEY CHECK (only = 1), seq INTEGER NOT NULL, hash TEXT NOT NULL, copied INTEGER NOT NULL
);
