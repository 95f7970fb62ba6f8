-- What the report draws and no other table holds: curves, histograms and check results, one JSON value a name.
-- strategy 'universe' (mode 'benchmark') and 'data' (mode '') carry what belongs to no strategy.
CREATE TABLE evidence (strategy VARCHAR NOT NULL, mode VARCHAR NOT NULL, name VARCHAR NOT NULL, value JSON NOT NULL);
