"""What a trading run tells: summaries, rows of orders, Dagster's events, alerts, traces."""
