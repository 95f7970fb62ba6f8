"""Queries of the market data store; a package so that they are installed with it."""
