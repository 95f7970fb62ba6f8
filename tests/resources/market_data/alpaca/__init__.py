"""Tests of the vendor `alpaca`, over a loopback server."""
