"""Health: what must hold for Kobe to be ready, and the server that answers with it."""
