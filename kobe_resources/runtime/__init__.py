"""What processes stand on: atomic files, locks, the event log, compiled kernels, Dagster's instance."""
