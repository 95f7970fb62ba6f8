"""Simulated trades against those of the live path, in replays and in live trading."""
