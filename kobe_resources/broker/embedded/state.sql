-- The embedded broker's whole state. Dollars and shares are REAL: fills must equal the simulation's floats to the bit.

CREATE TABLE IF NOT EXISTS account (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id TEXT NOT NULL, number TEXT NOT NULL, cash REAL NOT NULL,
    session TEXT NOT NULL, phase TEXT NOT NULL, ticks INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS orders (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE, client_order_id TEXT NOT NULL UNIQUE,
    symbol TEXT NOT NULL, side TEXT NOT NULL, kind TEXT NOT NULL, time_in_force TEXT NOT NULL,
    qty REAL NOT NULL, limit_price REAL, stop_price REAL,
    filled_qty REAL NOT NULL DEFAULT 0, filled_avg_price REAL,
    status TEXT NOT NULL, opens INTEGER NOT NULL,
    submitted_at TEXT NOT NULL, updated_at TEXT NOT NULL, filled_at TEXT, canceled_at TEXT, expired_at TEXT,
    hidden_lookups INTEGER NOT NULL DEFAULT 0, hidden_until REAL NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS orders_open ON orders (status) WHERE status IN ('new', 'partially_filled');

CREATE TABLE IF NOT EXISTS positions (symbol TEXT PRIMARY KEY, qty REAL NOT NULL, avg_entry_price REAL NOT NULL) STRICT;

CREATE TABLE IF NOT EXISTS fills (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE, order_id TEXT NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL,
    qty REAL NOT NULL, price REAL NOT NULL, cum_qty REAL NOT NULL, leaves_qty REAL NOT NULL, at TEXT NOT NULL
) STRICT;
