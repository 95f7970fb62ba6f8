"""May a session trade: preflight, and the research gate."""
