"""The warehouse: one DuckDB file, its connections, its checkpoints, and a view for notebooks."""
