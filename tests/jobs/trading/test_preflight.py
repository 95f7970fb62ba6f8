"""Preflight and the research gate: each line fails for its own reason and says the mend; what cannot be asked fails."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kobe_assets.graph.lineage import TABLES
from kobe_jobs.trading.context import TradingContext
from kobe_jobs.trading.readiness.preflight import NotReady, preflight
from kobe_jobs.trading.readiness.research_gate import CHECKED, EvidenceMissing, check_evidence, missing_evidence
from kobe_jobs.trading.session import trade_session
from kobe_resources.broker.exchange.embedded import EmbeddedBroker
from kobe_resources.findings import Finding
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


def test_stale_bars_fail(rig: TradingContext) -> None:
    stale = dataclasses.replace(rig, snapshot=market.make_snapshot(computed=frozenset()))
    assert "stale_signal" in failing(stale, "data").hint
    unfit = dataclasses.replace(rig, snapshot=market.make_snapshot(signals_fit_bars=False))
    assert "are of other bars or indicators than those stored" in failing(unfit, "data").seen


def test_a_blocked_account_fails(rig: TradingContext) -> None:
    assert "trading is blocked" in failing(market.with_blocked_account(rig), "account").seen


def test_an_empty_account_fails(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    embedded.book.state.run("UPDATE account SET cash = 10")
    assert "$10.00" in failing(rig, "buying power").seen


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


def test_open_intents_are_a_warning(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    embedded.advance_to(market.ENTRY_DAY, "close")
    trade_session(rig)
    line = lines_of(rig)["open intents"]
    assert (line.ok, line.blocks) == (False, False)


def store_evidence(warehouse: Warehouse, settings: Settings, **changes: Any) -> None:
    """Folds of rsi2 built from the stored bars under `settings`, checks passed; `changes` spoil it."""
    facts = {"pin": research_pin(settings), "passed": True, "bars": None, "signals": "sv", "strategy": "rsi2"} | changes
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
