"""The broker side: adapter, hosts, quotes and the embedded broker, over real HTTP on loopback."""
