"""A small stored market, the embedded broker over it, and the real adapter speaking to it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kobe_resources.broker.alpaca.adapter import AlpacaBroker
from kobe_resources.broker.exchange.bars import ExchangeDividend, ExchangeSplit
from kobe_resources.broker.exchange.clock import Phase
from kobe_resources.broker.exchange.embedded import EmbeddedBroker, StoredBars, Terms
from kobe_resources.broker.hosts import Hosts
from kobe_resources.broker.protocol import BrokerOrder, OrderRequest, OrderStatus

# 2024-07-03 is a half day, 2024-07-04 none at all.
SESSIONS = [dt.date(2024, 7, day) for day in (1, 2, 3, 5, 8, 9, 10, 11, 12)]
FIRST = SESSIONS[0]
KEY_ID, SECRET = "PKTESTKEYID0123456789", "s3cr3t-of-the-account-9876543210"
SHORT_TIMEOUT_S = 0.4
Opened = tuple[EmbeddedBroker, AlpacaBroker]
Open = Callable[..., Opened]


def flat_rows(symbol: str, price: float = 100.0, sessions: list[dt.date] = SESSIONS) -> list[tuple[Any, ...]]:
    """A bar of every session: open at the price, 5 % up and down, close 2 % up."""
    return [(symbol, day, price, price * 1.05, price * 0.95, price * 1.02) for day in sessions]


def stored(*more: tuple[Any, ...], splits: tuple[Any, ...] = ()) -> StoredBars:
    """KO at $100 and PEP at $50 every session, and what is added."""
    return StoredBars.of_rows([*flat_rows("KO"), *flat_rows("PEP", 50.0), *more], splits)


def speak_to(url: str, timeout_s: float = 5.0) -> AlpacaBroker:
    """The real adapter over loopback."""
    return AlpacaBroker(Hosts(url, url, is_live=False), KEY_ID, SECRET, timeout_s=timeout_s)


def limit_order(client_id: str, side: Any = "buy", qty: str = "1", limit: str = "101.00", symbol: str = "KO") -> OrderRequest:
    """An IOC limit order."""
    return OrderRequest(client_id, symbol, side, Decimal(qty), "limit", "ioc", limit_price=Decimal(limit))


def stop_order(client_id: str, side: Any = "sell", qty: str = "1", stop: str = "96.00", symbol: str = "KO") -> OrderRequest:
    """A GTC protective stop."""
    return OrderRequest(client_id, symbol, side, Decimal(qty), "stop", "gtc", stop_price=Decimal(stop))


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """The embedded broker at the opening of the first session."""
    with EmbeddedBroker(tmp_path / "broker", stored(), Terms(initial_cash=10_000.0)) as broker:
        broker.advance_to(FIRST, "open")
        yield broker


@pytest.fixture
def broker(embedded: EmbeddedBroker) -> Iterator[AlpacaBroker]:
    """The adapter over `embedded`."""
    adapter = speak_to(embedded.url)
    yield adapter
    adapter.close()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """A factory: a broker over KO at $100, PEP at $50 and `rows`, in a phase of the first session, with `settings`."""
    running: list[EmbeddedBroker] = []

    def start(
        *rows: tuple[Any, ...], splits: tuple[ExchangeSplit, ...] = (), paid: tuple[ExchangeDividend, ...] = (),
        settings: Any = None, phase: Phase = "open", **terms: Any,
    ) -> Opened:  # fmt: skip
        bars = StoredBars.of_rows([*flat_rows("KO"), *flat_rows("PEP", 50.0), *rows], splits, paid)
        given = Terms(**{"initial_cash": 10_000.0, **terms})
        embedded = EmbeddedBroker(tmp_path / f"broker{len(running)}", bars, given, [{"settings": settings or {}}])
        running.append(embedded)
        embedded.advance_to(FIRST, phase)
        return embedded, speak_to(embedded.url)

    yield start
    for embedded in running:
        embedded.close()


def order(broker: AlpacaBroker, client_id: str) -> BrokerOrder:
    """The order as a look-up tells it."""
    found = broker.order_by_client_id(client_id)
    assert found is not None
    return found


def status(broker: AlpacaBroker, client_id: str) -> OrderStatus:
    """Its status."""
    return order(broker, client_id).status
