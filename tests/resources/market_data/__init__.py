"""Tests of the market data store and of the vendors."""
