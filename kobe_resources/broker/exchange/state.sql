-- The embedded broker's whole state. Dollars and shares are REAL: fills must equal the simulation's floats to the bit.

-- initial_cash and vendor: what the account was made with.
CREATE TABLE IF NOT EXISTS account (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id TEXT NOT NULL, number TEXT NOT NULL, cash REAL NOT NULL,
    session TEXT NOT NULL, phase TEXT NOT NULL, ticks INTEGER NOT NULL,
    initial_cash REAL, vendor TEXT
) STRICT;

-- reserve: dollars a share that an opening order has spoken for.
CREATE TABLE IF NOT EXISTS orders (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE, client_order_id TEXT NOT NULL UNIQUE,
    symbol TEXT NOT NULL, side TEXT NOT NULL, kind TEXT NOT NULL, time_in_force TEXT NOT NULL,
    qty REAL NOT NULL, limit_price REAL, stop_price REAL,
    filled_qty REAL NOT NULL DEFAULT 0, filled_avg_price REAL,
    status TEXT NOT NULL, opens INTEGER NOT NULL,
    submitted_at TEXT NOT NULL, updated_at TEXT NOT NULL, filled_at TEXT, canceled_at TEXT, expired_at TEXT,
    hidden_lookups INTEGER NOT NULL DEFAULT 0, hidden_until REAL NOT NULL DEFAULT 0,
    failed_at TEXT, reserve REAL, replaces TEXT, replaced_by TEXT, replaced_at TEXT
) STRICT;
DROP INDEX IF EXISTS orders_open;
CREATE INDEX IF NOT EXISTS orders_working ON orders (seq)
    WHERE status IN ('pending_new', 'accepted', 'new', 'partially_filled', 'pending_cancel');

CREATE TABLE IF NOT EXISTS positions (symbol TEXT PRIMARY KEY, qty REAL NOT NULL, avg_entry_price REAL NOT NULL) STRICT;

CREATE TABLE IF NOT EXISTS fills (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE, order_id TEXT NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL,
    qty REAL NOT NULL, price REAL NOT NULL, cum_qty REAL NOT NULL, leaves_qty REAL NOT NULL, at TEXT NOT NULL
) STRICT;

-- What is still to happen to an order, and when in real time (seconds since 1970).
CREATE TABLE IF NOT EXISTS plans (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    order_id TEXT NOT NULL, due REAL NOT NULL, step TEXT NOT NULL, share REAL NOT NULL
) STRICT;

-- What moved cash without a trade. kind: DIV, FEE or CIL (cash in lieu of the fractions that splits left), in Alpaca's words.
-- qty: shares that it is about (negative: owed by a short), price: dollars a share, amount: dollars, negative where they left.
CREATE TABLE IF NOT EXISTS activities (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, symbol TEXT, qty REAL, price REAL, amount REAL NOT NULL,
    description TEXT NOT NULL, at TEXT NOT NULL
) STRICT;
