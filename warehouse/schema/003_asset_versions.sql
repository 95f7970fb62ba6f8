-- Which version of each asset the tables hold: written with them in one transaction, so that a history that disagrees shows.
CREATE TABLE asset_versions (
    asset VARCHAR NOT NULL, data_version VARCHAR NOT NULL, code_version VARCHAR NOT NULL,
    inputs JSON NOT NULL, config_pin VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL, checks_passed BOOLEAN, recorded_at TIMESTAMPTZ NOT NULL
);
