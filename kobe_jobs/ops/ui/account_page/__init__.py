"""The account page: its routes, its data, its template, style and script."""
