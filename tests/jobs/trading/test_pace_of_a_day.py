"""A day of 25 orders at a broker that takes 200 calls a minute: paced, none refused, everything protected."""

from __future__ import annotations

import dataclasses
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kobe_jobs.trading.context import TradingContext
from kobe_jobs.trading.session import trade_session
from kobe_resources.broker.exchange.embedded import EmbeddedBroker, StoredBars, Terms
from kobe_resources.broker.exchange.faults import Fault
from kobe_resources.broker.pacing import MINUTE_S, Pace
from kobe_resources.settings.models import Settings
from tests.support.builders import small_market as market

LEAVING = [f"L{number:02d}" for number in range(12)]
COMING = [f"M{number:02d}" for number in range(13)]
LIMIT = 200


class StrictMinute:
    """A wall clock that only the pace moves, and a broker that refuses call 201 of any of its minutes."""

    def __init__(self, embedded: EmbeddedBroker) -> None:
        self.now = time.time()
        self.at: list[float] = []
        self.refused = 0
        self._inner = embedded.faults.meet
        embedded.faults.meet = self.meet  # type: ignore[method-assign]

    def meet(self, method: str, path: str, symbol: str) -> Fault | None:
        if sum(self.now - at < MINUTE_S for at in self.at) >= LIMIT:
            self.refused += 1
            return Fault("429")
        self.at.append(self.now)
        return self._inner(method, path, symbol)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def most_in_a_minute(self) -> int:
        return max(sum(0 <= at - start < MINUTE_S for at in self.at) for start in self.at)


def snapshot() -> Any:
    """Twelve signals on the first day, all of them flagged at its close; thirteen others on the second."""
    signals = {
        market.FIRST_SIGNALS: tuple(signal(symbol, market.FIRST_SIGNALS, rank) for rank, symbol in enumerate(LEAVING)),
        market.ENTRY_DAY: tuple(signal(symbol, market.ENTRY_DAY, rank) for rank, symbol in enumerate(COMING)),
    }
    calm, leaving = market._bars("S00"), market._bars(market.LEAVING[0])
    bars = {**dict.fromkeys(LEAVING, leaving), **dict.fromkeys(COMING, calm)}
    return market.make_snapshot(signals=signals, bars=bars)


def signal(symbol: str, session: Any, rank: int) -> Any:
    return dataclasses.replace(market._signal("S00", session, rank), symbol=symbol)


def settings() -> Settings:
    made = market.make_settings()
    return made.model_copy(update={"policy": made.policy.model_copy(update={"max_daily_notional": 1000.0})})


@pytest.fixture
def big(tmp_path: Path) -> Any:
    rows = [(symbol, day, 20.0, 20.2, 19.8, 20.1) for symbol in LEAVING + COMING for day in market.SESSIONS]
    with EmbeddedBroker(tmp_path / "broker", StoredBars.of_rows(rows), Terms(initial_cash=market.CASH)) as embedded:
        embedded.advance_to(market.ENTRY_DAY, "open")
        adapter = market.speak_to(embedded.url, settings())
        rig = market.make_context(tmp_path, adapter, settings(), snapshot())
        assert trade_session(rig).filled == 12
        embedded.advance_to(market.EXIT_DAY, "open")
        yield rig, embedded, adapter
        rig.ledger.close()
        adapter.close()


def test_a_day_of_25_orders_stays_below_200_calls_a_minute_and_everything_is_protected(
    big: tuple[TradingContext, Any, Any],
) -> None:
    rig, embedded, adapter = big
    strict = StrictMinute(embedded)
    pace = Pace(150, None, lambda: strict.now, strict.sleep)
    adapter._trading._pace = adapter._data._pace = pace
    began = strict.now
    summary = trade_session(rig)
    assert summary.is_clean, summary
    assert (summary.exits_filled, summary.filled, summary.stops) == (12, 13, 13)
    assert strict.refused == 0
    assert strict.most_in_a_minute() <= 150
    assert len(strict.at) < LIMIT + 20, "12 cancels, 12 exits, 13 entries and 13 stops, each with a look at clock and order"
    assert strict.now - began < 3 * MINUTE_S
    assert unguarded(embedded) == []


def unguarded(embedded: EmbeddedBroker) -> list[str]:
    """Symbols held at the broker without a stop for all their shares."""
    state = embedded.book.state
    stops = {row["symbol"]: row["qty"] for row in state.rows("SELECT * FROM orders WHERE kind = 'stop' AND status = 'new'")}
    return [row["symbol"] for row in state.positions() if Decimal(str(stops.get(row["symbol"], 0))) != Decimal(str(row["qty"]))]
