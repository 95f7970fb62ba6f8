"""The Dagster UI with its daemon: server, supervised processes, signals, and the guard before it."""
