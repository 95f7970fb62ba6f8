"""Tests of the UI, backup, health and units."""
