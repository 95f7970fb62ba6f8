"""Tests of the trading run."""
