-- What was loaded, from where, and what changed since: enough to skip an unchanged source and to read the store as it once was.

-- Whose bars the store holds; the last epoch is in force, and reads as of a moment reach back to its beginning.
CREATE TABLE bar_epochs (epoch INTEGER NOT NULL, source VARCHAR NOT NULL, began_at TIMESTAMPTZ NOT NULL);

-- One row a finished load of an epoch.
CREATE TABLE bar_loads (
    epoch INTEGER NOT NULL, vendor VARCHAR NOT NULL, fingerprint VARCHAR NOT NULL, loaded_at TIMESTAMPTZ NOT NULL,
    added BIGINT NOT NULL, changed BIGINT NOT NULL, unchanged BIGINT NOT NULL, removed BIGINT NOT NULL
);

-- A value that its own source later gave differently. A bar that the source took back has `new` NULL in every field.
-- `old_fetched_at`: since when the old value had been known, so that a read as of a moment knows what was there.
CREATE TABLE bar_revisions (
    symbol VARCHAR NOT NULL, session DATE NOT NULL, field VARCHAR NOT NULL,
    old DOUBLE, new DOUBLE, seen_at TIMESTAMPTZ NOT NULL, old_fetched_at TIMESTAMPTZ NOT NULL
);

-- Splits as they came and went; `change` is added or removed.
CREATE TABLE split_revisions (
    symbol VARCHAR NOT NULL, execution_date DATE NOT NULL, split_from DOUBLE NOT NULL, split_to DOUBLE NOT NULL,
    change VARCHAR NOT NULL, seen_at TIMESTAMPTZ NOT NULL
);

-- The latest answer to "does it have listed options"; no row: nobody was asked.
CREATE TABLE option_evidence (
    symbol VARCHAR NOT NULL, has_options BOOLEAN NOT NULL, source VARCHAR NOT NULL, seen_at TIMESTAMPTZ NOT NULL
);

-- Point-in-time membership: a symbol was a member from "from" to "to", both included; "to" NULL: still is.
CREATE TABLE universe_membership (symbol VARCHAR NOT NULL, "from" DATE NOT NULL, "to" DATE);
