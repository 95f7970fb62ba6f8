"""The pages of docs/ that are read off the code: settings, commands, figures, metrics, tables, Python."""
