"""Runs of the research path: stale assets, the vendor's freshness, backtests and sweeps."""
