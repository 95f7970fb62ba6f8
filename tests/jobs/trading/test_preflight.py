"""Preflight and the research gate: each line fails for its own reason and says the mend; what cannot be asked fails."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kobe_assets.graph.lineage import TABLES
from kobe_jobs.trading.context import TradingContext
from kobe_jobs.trading.readiness import preflight as readiness
from kobe_jobs.trading.readiness.preflight import NotReady, preflight
from kobe_jobs.trading.readiness.research_gate import CHECKED, EvidenceMissing, check_evidence, missing_evidence
from kobe_jobs.trading.session import trade_session
from kobe_resources import calendar
from kobe_resources.broker.exchange.embedded import EmbeddedBroker
from kobe_resources.broker.protocol import Clock, TradingDay
from kobe_resources.findings import Finding
from kobe_resources.order_ledger.states import OrderState
from kobe_resources.settings.models import Settings
from kobe_resources.settings.pins import research_pin
from kobe_resources.settings.secrets import Secrets
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders import small_market as market

NOW = dt.datetime(2024, 3, 6, tzinfo=dt.UTC)
KEYS = Secrets.model_validate({"alpaca_api_key_id": "PK1", "alpaca_api_secret_key": "secret"})


def lines_of(rig: TradingContext, secrets: Secrets | None = None) -> dict[str, Finding]:
    return {line.name: line for line in preflight(rig, secrets or Secrets())}


def test_everything_is_asked_and_all_of_it_passes_before_a_simulated_session(rig: TradingContext) -> None:
    lines = lines_of(rig)
    assert set(lines) == {
        "strategy", "keys", "host", "kill switch", "disk", "audit chain", "config pin", "account", "buying power", "clock",
        "calendar", "market", "data", "open intents", "positions", "whole shares", "protection", "sole use",
        "quotes", "auction", "splits", "switching", "other accounts",
    }  # fmt: skip
    assert [line.name for line in lines.values() if line.blocks and not line.ok] == []


def test_preflight_sends_nothing_and_writes_nothing(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    lines_of(rig)
    assert {method for method, _ in embedded.requests()} == {"GET"}
    assert rig.ledger.audit_head().startswith("0:")


def failing(rig: TradingContext, name: str, secrets: Secrets | None = None) -> Finding:
    line = lines_of(rig, secrets)[name]
    assert not line.ok
    assert line.hint
    return line


def test_the_kill_switch_fails_with_its_reason(rig: TradingContext) -> None:
    rig.kill_switch.turn_on("holiday")
    assert "holiday" in failing(rig, "kill switch").seen


def test_a_shut_market_fails(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    embedded.advance_to(market.ENTRY_DAY, "after")
    assert "shut until 2024-03-07" in failing(rig, "market").seen


STALE: dict[str, dict[str, Any]] = {
    "no signals of the session before": {"computed": frozenset()},
    "signals of other bars": {"signals_fit_bars": False},
    "bars that end a session early": {"sessions": np.array(market.SESSIONS[:1], dtype="datetime64[D]")},
}


@pytest.mark.parametrize("name", STALE)
def test_stale_bars_fail(rig: TradingContext, name: str) -> None:
    stale = dataclasses.replace(rig, snapshot=market.make_snapshot(**STALE[name]))
    assert "stale_signal" in failing(stale, "data").hint
    unfit = dataclasses.replace(rig, snapshot=market.make_snapshot(signals_fit_bars=False))
    assert "are of other bars or indicators than those stored" in failing(unfit, "data").seen


def saying(rig: TradingContext, **answers: Callable[..., Any]) -> TradingContext:
    """The rig with a broker of which some answers are others."""
    inner: Any = rig.broker

    class Saying:
        def __getattr__(self, name: str) -> Any:
            return answers.get(name) or getattr(inner, name)

    return dataclasses.replace(rig, broker_or_error=Saying())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"trading_blocked": True}, "trading is blocked"),
        ({"account_blocked": True}, "the account is blocked"),
        ({"trade_suspended_by_user": True}, "suspended by the user"),
        ({"status": "ONBOARDING"}, "status ONBOARDING"),
    ],
)
def test_an_account_that_may_not_trade_fails_with_why(rig: TradingContext, fields: dict[str, Any], why: str) -> None:
    account = dataclasses.replace(rig.broker.account(), **fields)
    assert why in failing(saying(rig, account=lambda: account), "account").seen


@pytest.mark.parametrize(("cash", "power"), [("10", "10"), ("5000", "74.99"), ("-1", "5000"), ("0", "5000")])
def test_an_account_without_the_money_for_an_order_fails(rig: TradingContext, cash: str, power: str) -> None:
    account = dataclasses.replace(rig.broker.account(), cash=Decimal(cash), buying_power=Decimal(power))
    assert "about $75.00" in failing(saying(rig, account=lambda: account), "buying power").seen


def days_of(first: dt.date, last: dt.date) -> list[TradingDay]:
    """What a broker whose calendar is ours answers."""
    days = calendar.sessions(first, last).tolist()
    return [TradingDay(day, calendar.open_time(day), calendar.close_time(day)) for day in days]


def without(first: dt.date, last: dt.date) -> list[TradingDay]:
    return [day for day in days_of(first, last) if day.session != market.SESSIONS[1]]


def half(first: dt.date, last: dt.date) -> list[TradingDay]:
    early = dt.timedelta(hours=3)
    days = days_of(first, last)
    return [dataclasses.replace(day, close=day.close - early) if day.session == market.SESSIONS[1] else day for day in days]


def one_more(first: dt.date, last: dt.date) -> list[TradingDay]:
    days = days_of(first, last)
    return [*days, dataclasses.replace(days[-1], session=dt.date(2024, 3, 2))]


CALENDARS = {"no such session": (without, "2024-03-05"), "a half day": (half, "2024-03-05"), "more": (one_more, "2024-03-02")}


@pytest.mark.parametrize("name", CALENDARS)
def test_a_calendar_that_differs_from_the_broker_s_fails_and_blocks_where_orders_are_real(
    rig: TradingContext, name: str
) -> None:
    theirs, day = CALENDARS[name]
    paper = dataclasses.replace(rig, stage="paper")
    assert lines_of(saying(paper, calendar=days_of))["calendar"].ok
    line = failing(saying(paper, calendar=theirs), "calendar")
    assert (line.seen, line.blocks) == (f"differs on {day}", True)
    assert not failing(saying(rig, calendar=theirs), "calendar").blocks, "the embedded broker's sessions are the stored bars'"


def test_a_clock_of_the_broker_that_is_ahead_fails_as_one_that_is_behind(rig: TradingContext) -> None:
    def ahead() -> Clock:
        return dataclasses.replace(clock, timestamp=dt.datetime.now(dt.UTC) + dt.timedelta(seconds=60))

    clock = rig.broker.clock()
    assert "NTP" in failing(dataclasses.replace(saying(rig, clock=ahead), stage="paper"), "clock").hint


@pytest.mark.parametrize("name", ["disk", "audit chain"])
def test_a_full_disk_or_a_ledger_that_was_set_back_fails_and_refuses_a_run(
    rig: TradingContext, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(readiness, "LEAST_FREE_TO_TRADE", 10**18 if name == "disk" else 0)
    monkeypatch.setattr(readiness, "find_rollback", lambda _: "set back" if name == "audit chain" else "")
    assert failing(rig, name).blocks
    with pytest.raises(NotReady, match=name):
        readiness.check_ready(rig)


def test_a_calendar_that_differs_refuses_a_run_where_orders_are_real_and_no_other(rig: TradingContext) -> None:
    readiness.check_ready(saying(rig, calendar=half))
    now = dataclasses.replace(rig.broker.clock(), timestamp=dt.datetime.now(dt.UTC))
    paper = dataclasses.replace(saying(rig, clock=lambda: now, calendar=lambda *_: []), stage="paper")
    with pytest.raises(NotReady, match="calendar: differs on"):
        readiness.check_ready(paper)


def test_evidence_that_is_missing_blocks_where_orders_are_real(rig: TradingContext) -> None:
    assert not failing(rig, "config pin").blocks
    assert failing(dataclasses.replace(rig, stage="live"), "config pin").blocks


def test_a_symbol_without_a_quote_is_a_warning(rig: TradingContext) -> None:
    assert not failing(saying(rig, quotes=lambda _: {}), "quotes").blocks


@pytest.mark.parametrize(
    ("sizing", "words"),
    [
        ({"mode": "fixed", "order_notional": 900.0}, "one order needs about $900.00"),
        ({"mode": "equity", "fraction": 0.25}, "one order needs about $1,250.00"),
        ({"mode": "risk", "fraction": 0.01}, "one order puts at risk about $50.00"),
    ],
)
def test_what_an_order_needs_is_told_by_the_sizing_in_force(rig: TradingContext, sizing: dict[str, Any], words: str) -> None:
    settings = rig.settings.model_copy(update={"sizing": rig.settings.sizing.model_copy(update=sizing)})
    (found,) = [one for one in preflight(dataclasses.replace(rig, settings=settings), Secrets()) if one.name == "buying power"]
    assert words in found.seen


def test_a_broken_chain_fails(rig: TradingContext) -> None:
    trade_session(rig)
    rig.ledger.connection.execute("UPDATE audit SET body = '{}' WHERE seq = 3")
    assert "record 3" in failing(rig, "audit chain").seen


def test_a_position_of_nobody_s_fails(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    fields = {"client_order_id": "hand", "symbol": "S11", "side": "buy", "type": "market", "time_in_force": "day", "qty": "2"}
    embedded.book.submit(fields)
    assert "S11" in failing(rig, "positions").seen


def test_paper_without_keys_fails_and_with_keys_passes(rig: TradingContext) -> None:
    paper = dataclasses.replace(rig, stage="paper")
    assert "ALPACA_API_KEY_ID" in failing(paper, "keys").hint
    assert lines_of(paper, KEYS)["keys"].ok


def test_a_file_of_keys_that_others_can_read_fails(
    rig: TradingContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys"
    file.write_text("ALPACA_API_KEY_ID=PK1\n")
    file.chmod(0o644)
    monkeypatch.setenv("KOBE_ENV_FILE", str(file))
    assert "chmod" in failing(dataclasses.replace(rig, stage="paper"), "keys", KEYS).hint


def test_a_host_of_another_stage_fails(rig: TradingContext) -> None:
    settings = rig.settings.model_copy(
        update={"broker": rig.settings.broker.model_copy(update={"base_url": "https://api.alpaca.markets"})}
    )
    failing(dataclasses.replace(rig, stage="paper", settings=settings), "host")


def test_a_clock_that_is_off_fails_on_paper(rig: TradingContext) -> None:
    assert "NTP" in failing(dataclasses.replace(rig, stage="paper"), "clock").hint


def test_the_time_of_an_embedded_broker_is_never_skew(
    rig: TradingContext, embedded: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    shadow = dataclasses.replace(rig, stage="shadow")

    class Later(dt.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return dt.datetime(2024, 3, 7, 3, 30, tzinfo=dt.UTC)

    monkeypatch.setattr("kobe_jobs.trading.readiness.preflight.dt.datetime", Later)
    assert "NTP" in failing(shadow, "clock").hint, "Alpaca's clock that is half a day off is ours that is wrong"
    own: Any = rig.broker
    own.embedded = embedded
    line = lines_of(shadow)["clock"]
    assert (line.ok, line.seen) == (True, "the broker's own: 2024-03-06 09:30 in New York")


@pytest.mark.parametrize("stage", ["paper", "live"])
def test_fractions_where_nothing_protects_them_fail_in_one_line_and_refuse_a_run(rig: TradingContext, stage: Any) -> None:
    sizing = rig.settings.sizing.model_copy(update={"whole_shares": False})
    fractions = dataclasses.replace(rig, settings=rig.settings.model_copy(update={"sizing": sizing}))
    assert lines_of(fractions)["whole shares"].ok
    line = failing(dataclasses.replace(fractions, stage=stage), "whole shares", KEYS)
    assert "sizing.whole_shares = false" in line.seen
    assert line.blocks
    with pytest.raises(NotReady, match="whole_shares"):
        trade_session(dataclasses.replace(fractions, stage=stage))


def test_a_stop_that_the_broker_lost_after_the_session_is_named(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    trade_session(rig)
    assert lines_of(rig)["protection"].ok
    stop = next(order for order in rig.broker.orders("open") if order.kind == "stop")
    embedded.book.cancel(stop.id)
    line = failing(rig, "protection")
    assert f"{stop.symbol} has no protective stop" in line.seen
    assert "`kobe trade`" in line.hint


def test_a_stop_for_fewer_shares_than_are_held_leaves_the_position_bare(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    trade_session(rig)
    stop = next(order for order in rig.broker.orders("open") if order.kind == "stop")
    embedded.book.state.run("UPDATE orders SET qty = qty / 2 WHERE id = ?", (stop.id,))
    assert f"{stop.symbol} has no protective stop" in failing(rig, "protection").seen


def test_a_stop_whose_position_is_gone_is_named(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    trade_session(rig)
    stop = next(order for order in rig.broker.orders("open") if order.kind == "stop")
    embedded.book.state.run("DELETE FROM positions WHERE symbol = ?", (stop.symbol,))
    assert f"a stop of {stop.symbol} rests at the broker without its position" in failing(rig, "protection").seen


def test_what_is_not_kobe_s_is_a_warning_that_says_the_account_should_be_kobe_s_alone(
    rig: TradingContext, embedded: EmbeddedBroker
) -> None:
    assert "Kobe's alone" in lines_of(rig)["sole use"].seen
    fields = {"client_order_id": "mine", "symbol": "S11", "side": "buy", "type": "limit", "time_in_force": "gtc", "qty": "2"}
    embedded.book.submit({**fields, "limit_price": "5"})
    line = lines_of(rig)["sole use"]
    assert (line.ok, line.blocks) == (False, False)
    assert "order buy 2 S11" in line.seen
    assert "the account should be Kobe's alone" in line.hint


def test_a_broker_that_does_not_answer_fails_its_lines_and_no_others(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    embedded.faults.add({"kind": "504", "match": {"path": "/v2/account"}, "times": None})
    lines = lines_of(rig)
    assert not lines["account"].ok
    assert not lines["positions"].ok
    assert lines["market"].ok
    assert lines["audit chain"].ok


@pytest.mark.parametrize(
    ("state", "seen"),
    [(state, "5 orders whose fate is open") for state in (OrderState.PLANNED, OrderState.SUBMITTING, OrderState.UNKNOWN)]
    + [(OrderState.CANCELED, "none")],
)
def test_open_intents_are_a_warning(rig: TradingContext, embedded: EmbeddedBroker, state: OrderState, seen: str) -> None:
    # Entries have ended: the run plans and sends nothing.
    embedded.advance_to(market.ENTRY_DAY, "close")
    assert trade_session(rig).submitted == 0
    with rig.ledger.write() as write:
        write.execute("UPDATE intents SET state = ? WHERE state = ?", (state, OrderState.PLANNED))
    line = lines_of(rig)["open intents"]
    assert (line.ok, line.blocks, line.seen) == (seen == "none", False, seen)


def store_evidence(warehouse: Warehouse, settings: Settings, **changes: Any) -> None:
    """Folds of rsi2 built from the stored bars under `settings`, checks passed; `changes` spoil it."""
    facts = {
        "pin": research_pin(settings),
        "passed": True,
        "bars": None,
        "signals": "sv",
        "strategy": "rsi2",
        "left_out": "",
    } | changes
    bars = facts["bars"] or warehouse.content_version(*TABLES["daily_bars"])
    fold = {
        "strategy": facts["strategy"], "mode": "canonical", "fold": 1, "params": "{}", "refused": "{}",
        **dict.fromkeys(("train_start", "train_end", "test_start", "test_end"), market.ENTRY_DAY),
    }  # fmt: skip
    versions = [
        {
            "asset": asset, "data_version": {"daily_bars": bars, "signals": "sv"}.get(asset, "v"), "code_version": "c",
            "inputs": json.dumps({"daily_bars": bars, "signals": facts["signals"]}), "config_pin": facts["pin"], "run_id": "r",
            "checks_passed": facts["passed"] if asset == "wf_folds" else True, "recorded_at": NOW,
        }
        for asset in CHECKED
        if asset != facts["left_out"]
    ]  # fmt: skip
    frame = pd.DataFrame(versions).astype({"checks_passed": "boolean"})
    warehouse.replace({"asset_versions": frame, "wf_folds": pd.DataFrame([fold])})


def test_evidence_of_these_settings_and_bars_lets_a_strategy_trade(rig: TradingContext) -> None:
    store_evidence(rig.warehouse, rig.settings)
    assert missing_evidence(rig.warehouse, rig.settings, "rsi2") == ""
    check_evidence(rig.warehouse, rig.settings, "rsi2", "live")


SPOILED = {
    "other settings": ({"pin": "0" * 64}, "other settings"),
    "other bars": ({"bars": "0" * 16}, "other bars"),
    "other signals": ({"signals": "0" * 16}, "other signals"),
    "failed checks": ({"passed": False}, "has not passed"),
    "checks not run": ({"passed": None}, "has not passed"),
    "an asset that never ran": ({"left_out": "universe"}, "universe has not passed"),
    "signals that never ran": ({"left_out": "signals"}, "other signals"),
    "another strategy": ({"strategy": "ibs"}, "no walk-forward folds"),
}


@pytest.mark.parametrize("name", SPOILED)
@pytest.mark.parametrize("stage", ["paper", "live"])
def test_without_its_own_evidence_it_may_not(rig: TradingContext, name: str, stage: str) -> None:
    changes, why = SPOILED[name]
    store_evidence(rig.warehouse, rig.settings, **changes)
    with pytest.raises(EvidenceMissing, match=why):
        check_evidence(rig.warehouse, rig.settings, "rsi2", stage)
    check_evidence(rig.warehouse, rig.settings, "rsi2", "simulated")
