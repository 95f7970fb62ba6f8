"""Whether a session may trade: preflight, and the research gate."""
