-- Whose bars the research holds in memory: who may trade, or could once, or is held. No row: nobody was chosen yet, and all are.
CREATE TABLE panel_symbols (symbol VARCHAR NOT NULL);

-- The same with their places in the sorted list of the panel.
CREATE VIEW panel_places AS
WITH stored AS (SELECT DISTINCT symbol FROM daily_bars)
SELECT symbol, (row_number() OVER (ORDER BY symbol) - 1)::INTEGER AS place
FROM (
    SELECT symbol FROM stored SEMI JOIN panel_symbols USING (symbol)
    UNION ALL
    SELECT symbol FROM stored WHERE NOT EXISTS (SELECT 1 FROM panel_symbols)
);
