"""The arithmetic: arrays in, arrays out. No Dagster, no I/O, no clock, no settings object; rules.md is its specification."""
