"""The small market's broker and a rig over it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kobe_jobs.trading import context, protection
from kobe_jobs.trading.context import TradingContext
from kobe_resources.broker.exchange.embedded import EmbeddedBroker
from tests.support.builders import small_market as market


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedBroker]:
    """The embedded broker at the opening of the entry day."""
    monkeypatch.setenv("KOBE_HOME", str(tmp_path))
    with market.start_broker(tmp_path) as broker:
        broker.advance_to(market.ENTRY_DAY, "open")
        yield broker


@pytest.fixture
def rig(tmp_path: Path, embedded: EmbeddedBroker) -> Iterator[TradingContext]:
    """A rig over it, with short waits."""
    settings = market.make_settings()
    adapter = market.speak_to(embedded.url, settings)
    rig = market.make_context(tmp_path, adapter, settings)
    yield rig
    rig.ledger.close()
    adapter.close()


class Waiting:
    """A clock that only waiting moves, so that a loaded machine's slow work takes nothing of a short wait."""

    def __init__(self) -> None:
        self._waited = 0.0

    def monotonic(self) -> float:
        return self._waited

    def sleep(self, seconds: float) -> None:
        # The embedded broker has a clock of its own, which must go on.
        time.sleep(seconds)
        self._waited += seconds


@pytest.fixture
def only_waiting_takes_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's waits for the broker end by what was waited, not by how long its work took."""
    clock = Waiting()
    for module in (context, protection):
        monkeypatch.setattr(module, "time", clock)
