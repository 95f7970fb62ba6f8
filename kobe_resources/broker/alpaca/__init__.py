"""Alpaca's HTTP API: the adapter, its transport, and how its bodies are read."""
