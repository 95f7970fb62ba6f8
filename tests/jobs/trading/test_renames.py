"""Positions whose symbol changed: twice, over a split of the same day, into a name that another gives up; and by a person."""

from __future__ import annotations

import dataclasses
import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest

from kobe_jobs.trading.context import SessionContext, TradingContext, open_session
from kobe_jobs.trading.market_snapshot import Split, load_market_snapshot
from kobe_jobs.trading.reconcile.accept import accept_differences
from kobe_jobs.trading.reconcile.compare import compare
from kobe_jobs.trading.renames import follow_renames
from kobe_jobs.trading.roll_forward import apply_splits
from kobe_jobs.trading.session import trade_session
from kobe_resources.broker.exchange.embedded import EmbeddedBroker
from kobe_resources.broker.protocol import Broker
from kobe_resources.order_ledger.positions import flag_for_exit, open_positions
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders import small_market as market

DAY, NEXT = market.ENTRY_DAY, market.EXIT_DAY
Renames = dict[str, tuple[dt.date, str]]


class Renamed:
    """A broker at which symbols have other names, and one of them other shares."""

    def __init__(self, inner: Any, names: dict[str, str], times: int = 1) -> None:
        self._inner, self._names, self._times = inner, names, times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def positions(self) -> Any:
        return [self._of(row, qty=row.qty * self._times) for row in self._inner.positions()]

    def orders(self, *args: Any, **kwargs: Any) -> Any:
        return [self._of(row, qty=row.qty * self._times) for row in self._inner.orders(*args, **kwargs)]

    def _of(self, row: Any, **changes: Any) -> Any:
        new = self._names.get(row.symbol)
        return dataclasses.replace(row, symbol=new, **changes) if new else row


@pytest.fixture
def traded(rig: TradingContext, embedded: EmbeddedBroker) -> TradingContext:
    """The morning after the small market's entry day."""
    assert trade_session(rig).is_clean
    embedded.advance_to(NEXT, "open")
    return rig


def morning(rig: TradingContext, names: dict[str, str], renames: Renames, times: int = 1, **changes: Any) -> SessionContext:
    assert rig.snapshot is not None
    snapshot = dataclasses.replace(rig.snapshot, renames=renames, **changes)
    return open_session(dataclasses.replace(rig, broker_or_error=Renamed(rig.broker, names, times), snapshot=snapshot), "rsi2")


def held(context: SessionContext) -> dict[str, Decimal]:
    return {p.symbol: p.qty for p in open_positions(context.ledger, context.account)}


def test_a_position_that_was_renamed_twice_is_followed_to_its_last_name(traded: TradingContext) -> None:
    later = NEXT + dt.timedelta(days=1)
    context = morning(traded, {"S00": "NEW"}, {"S00": (NEXT, "MID"), "MID": (later, "NEW")})
    # The second change is still to come.
    follow_renames(context)
    assert "S00" in held(context)
    context.hours = dataclasses.replace(context.hours, session=later)
    follow_renames(context)
    assert "NEW" in held(context)
    assert "S00" not in held(context)


def test_a_split_of_the_same_day_is_applied_whichever_name_it_is_told_under(traded: TradingContext) -> None:
    splits = {name: (Split(name, NEXT, 1.0, 2.0),) for name in ("S00", "NEW")}
    context = morning(traded, {"S00": "NEW"}, {"S00": (NEXT, "NEW")}, 2, splits={"NEW": splits["NEW"]})
    before = held(context)["S00"]
    both = dataclasses.replace(context, snapshot=dataclasses.replace(context.snapshot, splits=splits))
    assert apply_splits(both) == 1
    assert apply_splits(context) == 0
    follow_renames(context)
    assert held(context)["NEW"] == 2 * before


def test_a_name_may_be_one_that_another_position_gives_up(traded: TradingContext) -> None:
    before = held(morning(traded, {}, {}))
    context = morning(traded, {"S00": "S01", "S01": "NEW"}, {"S00": (NEXT, "S01"), "S01": (NEXT, "NEW")})
    follow_renames(context)
    assert held(context) == {**{s: q for s, q in before.items() if s != "S00"}, "S01": before["S00"], "NEW": before["S01"]}


def test_a_person_accepts_names_that_the_vendor_does_not_know_and_the_positions_stay(traded: TradingContext) -> None:
    context = morning(traded, {"S00": "S01", "S01": "NEW"}, {})
    before = held(context)
    found = compare(context)
    assert found.renamed == {"S00": "S01", "S01": "NEW"}
    accept_differences(context, found, "renamed")
    assert held(context)["S01"] == before["S00"]
    assert held(context)["NEW"] == before["S01"]


def test_a_renamed_position_of_other_shares_is_kept_and_its_difference_told(traded: TradingContext) -> None:
    context = morning(traded, {"S00": "NEW"}, {}, times=2)
    before = held(context)["S00"]
    rest = accept_differences(context, compare(context), "renamed")
    assert held(context)["NEW"] == before
    assert [(row.kind, row.what) for row in rest if row.kind == "position"] == [("position", "NEW")]


def test_an_order_of_a_renamed_position_that_buys_instead_of_selling_is_a_difference(traded: TradingContext) -> None:
    class Turned(Renamed):
        def orders(self, *args: Any, **kwargs: Any) -> Any:
            return [self._of(row, side="buy") for row in self._inner.orders(*args, **kwargs)]

    context = morning(traded, {"S00": "A"}, {})
    assert [row.kind for row in compare(context).differences] == ["symbol"]
    context.broker = cast(Broker, Turned(traded.broker, {"S00": "A"}))
    assert [(row.kind, row.halts) for row in compare(context).differences] == [("order", True), ("symbol", True)]


def test_a_position_is_not_sold_because_its_old_name_is_listed_no_more(traded: TradingContext) -> None:
    context = morning(traded, {"S00": "NEW"}, {"S00": (NEXT, "NEW")})
    position = next(p for p in open_positions(context.ledger, context.account) if p.symbol == "S00")
    with context.ledger.write() as write:
        flag_for_exit(write, position, "delisted")
    follow_renames(context)
    assert [p.flag for p in open_positions(context.ledger, context.account) if p.symbol == "NEW"] == [None]


def test_bars_of_the_names_to_come_are_loaded_with_a_position(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_HOME", str(tmp_path))
    warehouse = Warehouse(tmp_path / "kobe.duckdb")
    with warehouse.connect() as connection:
        for symbol, day in (("OLD", DAY), ("MID", DAY), ("NEW", NEXT)):
            connection.execute(
                "INSERT INTO daily_bars (symbol, session, open, high, low, close, volume, source, fetched_at)"
                " VALUES (?, ?, 1, 1, 1, 1, 1, 'files', now())", [symbol, day],
            )  # fmt: skip
        for old, new in (("OLD", "MID"), ("MID", "NEW")):
            connection.execute(
                "INSERT INTO corporate_actions (symbol, ex_date, kind, other_symbol, source)"
                " VALUES (?, ?, 'name_change', ?, 'files')", [old, NEXT, new],
            )  # fmt: skip
    snapshot = load_market_snapshot(warehouse, "rsi2", DAY, NEXT, {"OLD"})
    assert set(snapshot.bars) == {"OLD", "MID", "NEW"}
    assert snapshot.renames == {"OLD": (NEXT, "MID"), "MID": (NEXT, "NEW")}
