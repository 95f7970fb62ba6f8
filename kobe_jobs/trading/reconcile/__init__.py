"""Ledger against broker: differences found, and accepted by a person."""
