-- The latest outcome of every asset check, beside the data it judged: what the report's appendix shows.
CREATE TABLE check_results (
    asset VARCHAR NOT NULL, name VARCHAR NOT NULL, severity VARCHAR NOT NULL, passed BOOLEAN NOT NULL,
    count BIGINT NOT NULL, description VARCHAR NOT NULL, recorded_at TIMESTAMPTZ NOT NULL
);
