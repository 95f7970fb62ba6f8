"""The asset graph's own: inputs of the research, frames and schemas of tables, publishing, lineage."""
