-- What the stored folds were built from: the trials that the same transaction recorded just before them, and their checks.
-- Trials of a later sweep are newer than the folds and do not count.
SELECT f.config_pin, f.checks_passed, t.data_version
FROM (SELECT * FROM asset_versions WHERE asset = 'wf_folds') f
LEFT JOIN (
    SELECT data_version FROM wf_trials
    WHERE strategy = $strategy AND recorded_at <= (SELECT max(recorded_at) FROM asset_versions WHERE asset = 'wf_folds')
    ORDER BY recorded_at DESC LIMIT 1
) t ON true
