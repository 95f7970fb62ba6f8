"""What may stand in the way of a stop, and which stops no longer fit: decided from what the ledger and the broker hold."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Any

import pytest

from kobe_jobs.trading.bare_positions import AtBroker
from kobe_jobs.trading.context import TradingContext, open_session
from kobe_jobs.trading.session import trade_session
from kobe_jobs.trading.stops import is_passed, living_stops, may_have_exit, remove_misfits
from kobe_resources.order_ledger.positions import open_positions
from tests.jobs.trading.test_session import ACCOUNT

pytestmark = pytest.mark.usefixtures("only_waiting_takes_time")


@pytest.mark.parametrize(
    ("change", "passed"),
    [("acknowledged = 0", True), ("acknowledged = 0, session = '2024-03-05'", False), ("acknowledged = 1", False)],
)
def test_only_a_refusal_at_once_in_this_session_says_that_the_market_has_passed_a_stop(
    rig: TradingContext, change: str, passed: bool
) -> None:
    assert trade_session(rig).is_clean
    context = open_session(rig, "rsi2")
    held = open_positions(rig.ledger, ACCOUNT)[0]
    words, (stop,) = "stop price must be less than current price", living_stops(context, held)
    with rig.ledger.write() as write:
        refused = f"UPDATE intents SET state = 'REJECTED', detail = ?, {change} WHERE client_order_id = ?"
        write.execute(refused, (words, stop.client_order_id))
    assert is_passed(context, held, None) is passed


@pytest.mark.parametrize(("change", "left"), [({}, 1), ({"stop_price": Decimal("11.00")}, 0), ({"qty": Decimal(2)}, 0)])
def test_a_stop_that_was_planned_and_no_longer_fits_is_not_sent(rig: TradingContext, change: dict[str, Any], left: int) -> None:
    assert trade_session(rig).is_clean
    context = open_session(rig, "rsi2")
    held = open_positions(rig.ledger, ACCOUNT)[0]
    with rig.ledger.write() as write:
        write.execute("UPDATE intents SET state = 'INTENT', posts = 0 WHERE leg = 'stop' AND symbol = ?", (held.symbol,))
    remove_misfits(context, dataclasses.replace(held, **change), AtBroker())
    assert len(living_stops(context, held)) == left


@pytest.mark.parametrize(
    ("state", "free", "may"),
    [("UNKNOWN", 3, False), ("UNKNOWN", 0, True), ("NOT_PLACED", 1, True), ("ACCEPTED", 3, True), ("CANCELED", 0, False)],
)
def test_an_exit_that_may_bind_shares_leaves_no_room_for_a_stop(rig: TradingContext, state: str, free: int, may: bool) -> None:
    assert trade_session(rig).is_clean
    context = open_session(rig, "rsi2")
    held = open_positions(rig.ledger, ACCOUNT)[0]
    with rig.ledger.write() as write:
        write.execute("UPDATE intents SET leg = 'exit', state = ? WHERE leg = 'stop' AND symbol = ?", (state, held.symbol))
    rows = {row.symbol: dataclasses.replace(row, qty_available=Decimal(free)) for row in rig.broker.positions()}
    assert may_have_exit(context, held, AtBroker(positions=rows)) is may
