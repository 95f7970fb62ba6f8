"""What a trading run reports: summaries, rows of orders, Dagster's events, alerts, traces."""
