"""The asset checks: of stored bars, of research results, and how they are run and recorded."""
