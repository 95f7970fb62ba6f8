"""Tests of the Polygon vendor; every one drives the real SDK through the loopback server."""
