"""Tests of the order ledger."""
