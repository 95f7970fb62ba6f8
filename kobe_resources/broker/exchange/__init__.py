"""The embedded exchange: Alpaca's HTTP API on loopback over stored bars."""
