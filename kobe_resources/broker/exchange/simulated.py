"""The stage `simulated` with a server of its own: the Alpaca adapter, and the embedded broker that it calls."""

from __future__ import annotations

from kobe_resources.broker.alpaca.adapter import AlpacaBroker
from kobe_resources.broker.exchange.embedded import EmbeddedBroker
from kobe_resources.broker.hosts import Hosts

KEY = "simulated"
"""Loopback asks for keys and takes any where it has none of its own; the person's never go there."""


class SimulatedBroker(AlpacaBroker):
    """An AlpacaBroker over `embedded`, which it closes when closed."""

    def __init__(self, embedded: EmbeddedBroker, hosts: Hosts, timeout_s: float, read_only: bool = False) -> None:
        key = embedded.terms.key_id or KEY
        super().__init__(hosts, key, key, timeout_s=timeout_s, read_only=read_only)
        self.embedded = embedded

    def close(self) -> None:
        """Close the connections and the server."""
        super().close()
        self.embedded.close()
