"""`kobe trade` without a session at the embedded broker: the next that has bars and was not traded, or one line."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from kobe_jobs.trading.context import TradingContext
from kobe_jobs.trading.next_session import keeps_stored_time, next_session, nothing_left
from kobe_jobs.trading.session import trade_session
from kobe_resources.broker.exchange.embedded import EmbeddedBroker
from tests.support.builders import small_market as market


@pytest.fixture
def own(rig: TradingContext, embedded: EmbeddedBroker) -> TradingContext:
    """The rig as `open_trading_context` makes it: its broker knows the embedded one."""
    broker: Any = rig.broker
    assert not keeps_stored_time(rig)
    broker.embedded = embedded
    return rig


def test_sessions_are_taken_in_turn_until_the_bars_end(own: TradingContext) -> None:
    taken = []
    snapshot = market.make_snapshot(computed=frozenset(market.SESSIONS))
    rig = dataclasses.replace(own, snapshot=snapshot)
    while (session := next_session(rig)) is not None:
        taken.append(session)
        assert trade_session(rig, session).session == session
    assert taken == market.SESSIONS[2:]
    assert f"the last is {market.SESSIONS[-1]}" in nothing_left(rig)
    assert "`kobe report`" in nothing_left(rig)


def test_a_session_left_half_done_is_taken_again(own: TradingContext) -> None:
    trade_session(own, market.ENTRY_DAY)
    assert next_session(own) == market.EXIT_DAY
    with own.ledger.write() as write:
        write.execute("UPDATE session_claims SET state = 'halted'")
    assert next_session(own) == market.ENTRY_DAY


def test_a_session_whose_day_is_over_is_passed_by(own: TradingContext, embedded: EmbeddedBroker) -> None:
    embedded.advance_to(market.ENTRY_DAY, "after")
    assert next_session(own) == market.EXIT_DAY


def test_each_stage_has_sessions_of_its_own(own: TradingContext) -> None:
    trade_session(own, market.ENTRY_DAY)
    assert next_session(dataclasses.replace(own, stage="shadow")) == market.ENTRY_DAY
