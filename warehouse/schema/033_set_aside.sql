-- Every row that a vendor or a file gave and that was not stored: what it was, where it stood (a file's line, or NULL), and why.
CREATE TABLE set_aside (
    source VARCHAR NOT NULL, symbol VARCHAR NOT NULL, session DATE, reason VARCHAR NOT NULL,
    line BIGINT, row JSON NOT NULL, seen_at TIMESTAMPTZ NOT NULL
);
