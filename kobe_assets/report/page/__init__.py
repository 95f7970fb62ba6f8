"""The report's page: what templates get, chart data, lists, and the one HTML file."""
