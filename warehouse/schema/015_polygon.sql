-- How far the Polygon load is. Written in the transaction of the rows it speaks of, so that after any death it is true.

-- kind symbol: the bars of `key` from span_from to span_to are stored as far as the vendor has them.
-- kind day: the market of that date was read. kind splits, candidates: the list was read (splits: over that span).
-- kind load: everything was complete for this span; `key` says with which settings and candidates.
CREATE TABLE bar_checkpoints (
    vendor VARCHAR NOT NULL, kind VARCHAR NOT NULL, key VARCHAR NOT NULL,
    span_from DATE NOT NULL, span_to DATE NOT NULL, rows BIGINT NOT NULL, done_at TIMESTAMPTZ NOT NULL
);

-- Rows of the vendor that are no bars, no splits, no tickers: kept out of the store, and named here. `symbol` is escaped.
CREATE TABLE bar_refusals (
    vendor VARCHAR NOT NULL, symbol VARCHAR NOT NULL, session DATE, reason VARCHAR NOT NULL, seen_at TIMESTAMPTZ NOT NULL
);
