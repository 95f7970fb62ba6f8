"""The small market's broker and a rig over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
