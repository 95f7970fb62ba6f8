"""Parity of live trading: a session simulated from the evening before is the simulation's own, and no strategy is left out."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kobe_assets.graph.frames import book_trades
from kobe_assets.graph.inputs import canonical_params, load_market
from kobe_assets.research.simulation import simulate, terms_of
from kobe_assets.research.strategies import STRATEGIES
from kobe_assets.research.walk_forward import Market, Part, feed_of
from kobe_jobs.trading.market_snapshot import MarketSnapshot, load_market_snapshot
from kobe_jobs.trading.parity import live as parity_module
from kobe_jobs.trading.parity.live import Evening, live_parity, simulate_session
from kobe_jobs.trading.parity.trades import simulated_trades
from kobe_resources import calendar
from kobe_resources.broker.quotes import stop_price
from kobe_resources.order_ledger import OrderLedger, Position
from kobe_resources.order_ledger.sessions import DONE, claim_session, end_session
from tests.support.builders.replay_market import random_warehouse

NOW = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def held_from(row: Any, market: Market, snapshot: MarketSnapshot, atr_stop: float, day: dt.date) -> Position:
    """A simulated trade as the ledger would hold it: prices and shares as traded on `day`."""
    factor, entered = snapshot.factor(row.symbol, row.entry_session.date()), row.entry_session.date()
    now = snapshot.factor(row.symbol, day)
    price = row.entry_price / factor
    panel = market.panel
    bar = panel.bar_at[
        int(np.searchsorted(panel.sessions, row.signal_session.to_datetime64())), panel.symbols.index(row.symbol)
    ]
    distance = atr_stop * float(market.indicators.atr14[bar - market.lag]) / factor
    stop = stop_price(price, distance, row.side == "long") * Decimal(repr(factor)) / Decimal(repr(now))
    return Position(
        id=f"{row.symbol} {entered}", account="a", strategy="s", symbol=row.symbol, side=row.side,
        signal_session=row.signal_session.date(), entry_session=entered,
        entry_qty=Decimal(repr(row.shares * now)),
        entry_price=Decimal(repr(row.entry_price / now)), qty=Decimal(repr(row.shares * now)),
        stop_distance=Decimal(repr(distance)), stop_price=stop, split_factor=Decimal(repr(now / factor)),
        splits_through=entered, bars_held=0, bars_through=None, flag=None, exit_session=None, exit_qty=Decimal(0),
        exit_value=Decimal(0), exit_reason=None,
        is_open=True, opened_at=NOW, closed_at=None,
    )  # fmt: skip


@pytest.mark.parametrize(("seed", "name"), [(10, "ibs"), (6, "rsi2")])
def test_a_session_from_the_evening_before_is_that_of_the_whole_simulation(tmp_path: Path, seed: int, name: str) -> None:
    settings, warehouse = random_warehouse(tmp_path, seed, 290)
    strategy = STRATEGIES[name]
    market = load_market(warehouse, settings)
    params = canonical_params(settings, strategy)
    feed = feed_of(market, strategy, params)
    first, last = 215, 285
    outcome = simulate(feed, first, last, terms_of([params]), market.costs, market.limits)
    frame = book_trades([strategy], outcome, market.panel)
    whole = simulated_trades(frame)
    sessions = market.panel.sessions
    snapshot = load_market_snapshot(warehouse, name, sessions[first].item(), sessions[last].item(), set(frame["symbol"]))
    seen = 0
    for index in range(first + 1, last):
        day = sessions[index].item()
        before = frame[(frame["entry_session"].dt.date < day) & (frame["exit_session"].dt.date >= day)]
        held = [held_from(row, market, snapshot, params["atr_stop"], day) for row in before.itertuples(index=False)]
        cash = market.costs.initial_cash + sum(
            (1 if row.side == "long" else -1)
            * row.shares
            * ((row.exit_price if row.exit_session.date() < day else 0) - row.entry_price)
            for row in frame[frame["entry_session"].dt.date < day].itertuples(index=False)
        )
        found = simulate_session(market, settings, [Part(strategy, 1.0)], snapshot, Evening(index, day, held, cash))
        ends = {"delisted", "window_end"}
        wanted = {t.key: t for t in whole if day in (t.entry_session, t.exit_session) and t.exit_reason not in ends}
        ours = {t.key: t for t in found if day in (t.entry_session, t.exit_session)}
        for key, trade in wanted.items():
            assert key in ours, (day, key)
            assert ours[key].entry_price == pytest.approx(trade.entry_price, rel=1e-9)
            if trade.exit_session == day:
                assert (ours[key].exit_session, ours[key].exit_reason) == (day, trade.exit_reason)
                assert ours[key].exit_price == pytest.approx(trade.exit_price, rel=1e-9)
                seen += 1
    assert seen >= 3


def test_every_strategy_that_traded_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, warehouse = random_warehouse(tmp_path, 10, 290)
    sessions = load_market(warehouse, settings).panel.sessions
    asked: list[str] = []

    def note(*args: Any) -> tuple[list[Any], int]:
        asked.append(args[5][0].strategy.name)
        return [], 1

    monkeypatch.setattr(parity_module, "_compare", note)
    with OrderLedger(tmp_path / "orders.sqlite") as ledger:
        for day, name in ((sessions[-3].item(), "rsi2"), (sessions[-2].item(), "ibs")):
            with ledger.write() as write:
                claim_session(write, "simulated:PA1", day, name, "me")
                end_session(write, "simulated:PA1", day, DONE, "")
        found = live_parity(settings, warehouse, ledger, NOW)
    assert (found.session, found.rows, found.compared) == (sessions[-2].item(), [], 2)
    assert found.holds
    assert sorted(asked) == ["ibs", "rsi2"]


def trade(ledger: OrderLedger, day: dt.date, strategy: str = "rsi2") -> None:
    with ledger.write() as write:
        claim_session(write, "paper:PA1", day, strategy, "me")
        end_session(write, "paper:PA1", day, DONE, "")


def after(day: dt.date) -> dt.datetime:
    """Late in the evening of `day`."""
    return dt.datetime.combine(day, dt.time(23), calendar.NEW_YORK)


def test_nothing_is_compared_before_the_first_session(tmp_path: Path) -> None:
    settings, warehouse = random_warehouse(tmp_path, 10, 290)
    with OrderLedger(tmp_path / "orders.sqlite") as ledger:
        found = live_parity(settings, warehouse, ledger, NOW)
    assert (found.holds, found.not_compared) == (False, "no session was traded yet")


def test_a_session_without_bars_is_not_compared_by_an_older_one(tmp_path: Path) -> None:
    settings, warehouse = random_warehouse(tmp_path, 10, 290)
    stored: dt.date = load_market(warehouse, settings).panel.sessions[-1].item()
    ahead: dt.date = calendar.sessions(stored, stored + dt.timedelta(days=14))[1].item()
    with OrderLedger(tmp_path / "orders.sqlite") as ledger:
        trade(ledger, stored)
        assert live_parity(settings, warehouse, ledger, after(stored)).holds
        trade(ledger, ahead)
        # The auction of a coming session has its orders in the evening before.
        assert live_parity(settings, warehouse, ledger, after(stored)).session == stored
        found = live_parity(settings, warehouse, ledger, after(ahead))
    assert (found.session, found.holds, found.compared) == (ahead, False, 0)
    assert f"the bars of {ahead} are not stored" in found.not_compared


@pytest.mark.parametrize("name", ["dropped", "portfolio"])
def test_a_strategy_that_is_gone_is_named(tmp_path: Path, name: str) -> None:
    settings, warehouse = random_warehouse(tmp_path, 10, 290)
    days = load_market(warehouse, settings).panel.sessions
    with OrderLedger(tmp_path / "orders.sqlite") as ledger:
        trade(ledger, days[-3].item(), name)
        found = live_parity(settings, warehouse, ledger, NOW)
        assert not found.holds
        assert found.not_compared.startswith(f"{name} traded")
        trade(ledger, days[-2].item())
        assert live_parity(settings, warehouse, ledger, NOW).holds, "it neither traded nor held anything in that session"
