"""The order path from the terminal: what each command prints, its exit code, and the trace back to the bars."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import Result

from kobe_assets.graph.inputs import load_market
from kobe_assets.research.strategies import STRATEGIES
from kobe_assets.research.walk_forward import Part
from kobe_jobs.cli.commands import trading
from kobe_jobs.cli.output import SHORT_ID, order_table
from kobe_jobs.cli.screen import Screen
from kobe_jobs.research_run.stale import bring_up_to_date
from kobe_jobs.trading import session_series
from kobe_jobs.trading.parity.replay import simulate_window
from kobe_resources.broker.alpaca.adapter import AlpacaBroker
from kobe_resources.broker.exchange.embedded import EmbeddedBroker, StoredBars
from kobe_resources.broker.hosts import Hosts
from kobe_resources.broker.open import simulated_terms
from kobe_resources.errors import KobeError, UsageError
from kobe_resources.kill_switch import KillSwitch
from kobe_resources.order_ledger import OrderLedger
from kobe_resources.runtime.dagster_instance import open_instance
from kobe_resources.settings.load import load_settings
from kobe_resources.warehouse.store import Warehouse
from tests.support.drivers.command import invoked

STRATEGY = "ibs"
ENVIRONMENT = {
    "KOBE_DATA__VENDOR": "synthetic",
    "KOBE_DATA__SYNTHETIC__SYMBOLS": "12",
    "KOBE_DATA__SYNTHETIC__SESSIONS": "300",
    "KOBE_UNIVERSE__MIN_YEARS": "0.5",
    "KOBE_BROKER__STAGE": "simulated",
    "KOBE_PORTFOLIO__STRATEGIES": json.dumps({STRATEGY: 1.0}),
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """A data folder with invented bars and their signals, its sessions, and a trade that the simulation makes."""
    folder = tmp_path_factory.mktemp("stored")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**ENVIRONMENT, "KOBE_HOME": str(folder)}.items():
            patch.setenv(name, value)
        settings = load_settings()
        bring_up_to_date(settings, targets=("daily_bars", "universe", "indicators", "signals"))
        market = load_market(Warehouse(), settings)
    trades, _ = simulate_window(market, settings, [Part(STRATEGIES[STRATEGY], 1.0)], 210, len(market.panel.sessions) - 1)
    return folder, market.panel.sessions.tolist(), trades[0]


@pytest.fixture
def simulated(stored: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A copy of that warehouse in KOBE_HOME, its settings in the environment."""
    folder, sessions, trade = stored
    home.mkdir(parents=True)
    (home / "kobe.duckdb").write_bytes((folder / "kobe.duckdb").read_bytes())
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return sessions, trade


def kobe(*arguments: str) -> Result:
    return invoked(*arguments)


def printed(*arguments: str) -> Any:
    result = kobe(*arguments, "--json")
    assert result.exit_code in (0, 1), result.output
    return json.loads(result.stdout)


def test_many_sessions_tell_the_notes_of_each(simulated: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    day, note, trade = str(simulated[1].entry_session), "AAA left by its stop", session_series.trade_session
    monkeypatch.setattr(session_series, "trade_session", lambda *how: dataclasses.replace(trade(*how), notes=(note,)))
    shown = kobe("trade", "--session", day, "--through", day)
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert lines[0].startswith(day)
    assert lines[1:] == [f"  note: {note}"]


def test_a_session_is_traded_traced_reconciled_and_not_traded_twice(simulated: Any, home: Path) -> None:
    _, trade = simulated
    summary = printed("trade", "--session", str(trade.entry_session))
    assert summary["clean"], summary
    assert summary["filled"] >= 1
    again = printed("trade", "--session", str(trade.entry_session))
    assert again["clean"], again
    assert "already traded" in again["notes"][0]
    assert [order["client_order_id"] for order in again["orders"]] == [order["client_order_id"] for order in summary["orders"]]
    assert printed("reconcile") == {"agrees": True, "differences": []}

    with OrderLedger(home / "orders.sqlite") as ledger:
        rows = ledger.rows("SELECT client_order_id FROM intents WHERE symbol = ? AND leg = 'stop'", (trade.symbol,))
        order = rows[0]["client_order_id"]
    trace = printed("trace", order)
    assert trace["order"]["leg"] == "stop"
    assert trace["signal"][0]["symbol"] == trade.symbol
    assert trace["signal"][0]["session"] == str(trade.signal_session)
    assert trace["bars"][0]["session"] == str(trade.signal_session)
    assert trace["bars"][0]["raw_close"] > 0
    assert trace["decision"]["limits"]["order_notional"] > 0
    assert trace["gate"]["reason"] == "accepted"
    assert trace["config_pin"] == summary["config_pin"]
    assert trace["settings"]["portfolio"]["strategies"] == {STRATEGY: 1.0}
    assert trace["runs"] == [summary["run_id"]]
    assert {record["kind"] for record in trace["audit"]} >= {"planned", "submitting", "accepted", "filled", "position_entered"}
    assert trace["versions at the decision"]["code"]
    assert len(trace["orders of the position"]) == 2
    assert f"stop {order}" in kobe("trace", order[:14]).stdout


@pytest.mark.parametrize("stage", ["shadow", "simulated"])
def test_without_a_session_the_next_untraded_one_is_taken_and_one_line_says_when_none_is_left(
    simulated: Any, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    sessions, _ = simulated
    monkeypatch.setenv("KOBE_BROKER__STAGE", stage)
    assert printed("trade", "--session", str(sessions[-2]))["session"] == str(sessions[-2])
    assert printed("trade")["session"] == str(sessions[-1])
    left = kobe("trade")
    assert left.exit_code == 0
    assert left.stdout.count("\n") == 1
    assert f"nothing to trade: every session that has bars was traded, the last is {sessions[-1]}" in left.stdout
    assert printed("trade")["session"] is None


def test_shadow_decides_on_bars_whose_session_opened_within_the_last_day(
    simulated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions, _ = simulated
    monkeypatch.setenv("KOBE_BROKER__STAGE", "shadow")

    class Later(dt.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return dt.datetime.combine(sessions[-1], dt.time(23, 0), dt.UTC)

    monkeypatch.setattr("kobe_jobs.trading.readiness.preflight.dt.datetime", Later)
    assert printed("trade")["session"] == str(sessions[-1])


def test_an_audit_copy_that_was_cut_is_completed_and_told(simulated: Any, home: Path) -> None:
    kobe("kill", "on", "one")
    kobe("kill", "off")
    copy = home / "audit.jsonl"
    copy.write_bytes(copy.read_bytes().splitlines(keepends=True)[0])
    healed = kobe("kill", "on", "two")
    assert "records had been cut off" in healed.stderr
    assert "audit.jsonl had been cut" in (home / "logs" / "events.jsonl").read_text()
    verified = kobe("audit", "verify")
    assert verified.exit_code == 0
    assert "audit.jsonl was cut and completed again: record" in verified.stdout
    assert printed("audit", "verify")["restored"]


def test_a_row_changed_by_hand_is_named_by_audit_verify(simulated: Any, home: Path) -> None:
    _, trade = simulated
    printed("trade", "--session", str(trade.entry_session))
    with contextlib.closing(sqlite3.connect(home / "orders.sqlite", isolation_level=None)) as raw:
        raw.execute("UPDATE positions SET stop_price = '0.01' WHERE symbol = ?", (trade.symbol,))
    refused = kobe("audit", "verify")
    assert refused.exit_code == 1
    assert f"({trade.symbol}) was changed by hand: stop_price is 0.01" in str(refused.exception)
    assert printed("audit", "verify")["holds"] is False


def test_the_words_of_strangers_are_shown_and_never_taken_for_markup() -> None:
    row = {
        "client_order_id": "kobe-1", "filled_qty": "0", "filled_avg_price": None, "state": "REJECTED", "reason": "stop",
        "detail": "insufficient [/] buying power [red]", "symbol": "[bold]X",
    }  # fmt: skip
    console = Screen(width=200, record=True)
    console.print(order_table(console, [row], ("symbol", "state", "reason")))
    shown = console.export_text()
    assert "[bold]X" in shown
    assert "stop: insufficient [/] buying power [red]" in shown


def test_a_run_is_shown_as_a_waterfall(simulated: Any) -> None:
    _, trade = simulated
    result = kobe("trade", "--session", str(trade.entry_session))
    assert result.exit_code == 0
    for word in ("signals", "submitted", "filled", "protective stops", "budget used", "audit head"):
        assert word in result.stdout


def test_a_run_lists_its_orders_and_trace_those_of_all_runs_newest_first(
    simulated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, trade = simulated
    assert printed("trace") == []
    assert "no orders" in kobe("trace").stdout
    summary = printed("trade", "--session", str(trade.entry_session))
    mine = {order["leg"]: order for order in summary["orders"] if order["symbol"] == trade.symbol}
    assert (mine["entry"]["side"], mine["entry"]["kind"], mine["entry"]["state"]) == ("buy", "limit", "FILLED")
    assert float(mine["entry"]["filled_avg_price"]) == pytest.approx(trade.entry_price)
    assert mine["stop"]["state"] == "ACCEPTED"
    assert mine["stop"]["filled_avg_price"] is None
    assert printed("trace") == summary["orders"][:-21:-1]
    assert [order["client_order_id"] for order in printed("trace", "--last", "1")] == [summary["orders"][-1]["client_order_id"]]
    newest = summary["orders"][-1]["client_order_id"]
    assert newest in kobe("trace").stdout
    of_symbol = kobe("trace", trade.symbol.lower())
    assert of_symbol.exit_code == 1
    assert f"{trade.symbol} is a symbol: its latest orders are {mine['stop']['client_order_id']}, " in str(of_symbol.exception)
    monkeypatch.setattr(trading, "output", lambda: Screen(width=100, force_terminal=True))
    narrow = kobe("trace").stdout
    assert newest not in narrow
    assert newest[:SHORT_ID] in narrow


def test_a_run_shows_its_orders_as_a_table(simulated: Any) -> None:
    _, trade = simulated
    shown = kobe("trade", "--session", str(trade.entry_session)).stdout
    for order in printed("trace", "--last", "100"):
        assert order["client_order_id"] in shown
    assert f"at {trade.entry_price:.4f}" in shown


def test_the_event_log_tells_of_each_order_under_its_id(simulated: Any, home: Path) -> None:
    _, trade = simulated
    summary = printed("trade", "--session", str(trade.entry_session))
    lines = [json.loads(line) for line in (home / "logs" / "events.jsonl").read_text().splitlines()]
    of_orders = [line for line in lines if line["event"].startswith("order ")]
    assert {line["order_id"] for line in of_orders} == {order["client_order_id"] for order in summary["orders"]}
    assert {(line["run_id"], line["stage"], line["session"]) for line in of_orders} == {
        (summary["run_id"], "simulated", str(trade.entry_session))
    }
    entry = next(o["client_order_id"] for o in summary["orders"] if (o["symbol"], o["leg"]) == (trade.symbol, "entry"))
    mine = [line["event"] for line in of_orders if line["order_id"] == entry]
    assert mine == ["order planned", "order submitting", "order accepted", "order filled", "order settled"]


def test_a_run_from_the_terminal_shows_on_the_assets_of_the_ui(simulated: Any) -> None:
    _, trade = simulated
    with open_instance():
        pass
    summary = printed("trade", "--session", str(trade.entry_session))
    with open_instance() as instance:
        for asset in ("orders", "fills", "positions"):
            shown = instance.get_latest_materialization_event(dg.AssetKey(asset)).asset_materialization
            assert shown.metadata["summary"].value == summary
            assert shown.metadata["session"].value == str(trade.entry_session)


def test_a_run_whose_output_nobody_takes_is_shown_in_the_ui_all_the_same(simulated: Any) -> None:
    _, trade = simulated
    with open_instance():
        pass
    command = [sys.executable, "-m", "kobe_jobs.cli", "trade", "--session", str(trade.entry_session)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    with open_instance() as instance:
        assert instance.get_latest_materialization_event(dg.AssetKey("orders")) is not None


def test_a_refused_run_shows_nothing_and_makes_no_history(simulated: Any, home: Path) -> None:
    _, trade = simulated
    printed("trade", "--session", str(trade.entry_session))
    assert not (home / "dagster").exists()
    with open_instance():
        pass
    assert kobe("kill", "on", "a test").exit_code == 0
    assert kobe("trade", "--session", str(trade.exit_session)).exit_code == 1
    with open_instance() as instance:
        assert instance.get_latest_materialization_event(dg.AssetKey("orders")) is None


def test_a_history_that_cannot_be_written_fails_no_run(simulated: Any, home: Path) -> None:
    _, trade = simulated
    with open_instance():
        pass
    for file in (home / "dagster" / "history").rglob("*.db"):
        file.write_bytes(b"no database" * 1000)
    assert printed("trade", "--session", str(trade.entry_session))["clean"]
    assert "could not be shown" in (home / "logs" / "events.jsonl").read_text()


def test_a_refused_run_leaves_the_simulated_broker_where_it_stood(simulated: Any, home: Path) -> None:
    sessions, trade = simulated
    first = sessions.index(trade.entry_session)
    assert printed("trade", "--session", str(sessions[first]))["clean"]
    KillSwitch().turn_on("lunch")
    refused = kobe("trade", "--session", str(sessions[first + 4]))
    assert "kill switch" in str(refused.exception)
    KillSwitch().turn_off()
    assert printed("trade", "--session", str(sessions[first + 1]))["session"] == str(sessions[first + 1])
    back = kobe("trade", "--session", str(sessions[first])).exception
    assert isinstance(back, UsageError)
    assert "`kobe account reset`" in str(back)


def test_a_refused_first_run_leaves_a_new_broker_at_the_beginning(simulated: Any) -> None:
    sessions, _ = simulated
    KillSwitch().turn_on("lunch")
    assert kobe("trade", "--session", str(sessions[250])).exit_code == 1
    KillSwitch().turn_off()
    assert printed("trade")["session"] == str(sessions[-1])


def test_what_was_refused_is_counted_not_subtracted(simulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, trade = simulated
    monkeypatch.setenv("KOBE_BROKER__STAGE", "shadow")
    monkeypatch.setenv("KOBE_POLICY__MAX_NOTIONAL_PER_ORDER", "1")
    shown = kobe("trade", "--session", str(trade.entry_session)).stdout
    assert re.search(r"refused: exceeds order budget\s+│ \d", shown)


@pytest.mark.parametrize("command", [("trade", "--session"), ("replay", "--end", "2013-02-01", "--start")])
@pytest.mark.parametrize("text", ["2013-13-01", "01.02.2013", "2013-02-01T10:00", "today"])
def test_a_date_that_is_none_is_told_how_to_write_one(command: tuple[str, ...], text: str) -> None:
    result = kobe(*command, text)
    assert result.exit_code == 2
    assert "YYYY-MM-DD" in result.output
    assert "%Y" not in result.output


def test_shadow_needs_no_keys_and_sends_nothing(simulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, trade = simulated
    monkeypatch.setenv("KOBE_BROKER__STAGE", "shadow")
    summary = printed("trade", "--session", str(trade.entry_session))
    assert summary["submitted"] == 0
    assert summary["would_send"] >= 1
    sent = [order for order in summary["orders"] if order["state"] == "WOULD_SEND"]
    assert {order["leg"] for order in sent} >= {"entry", "stop"}
    assert all(order["limit_price"] or order["stop_price"] for order in sent)


def test_a_replay_prints_its_verdict(simulated: Any) -> None:
    sessions, _ = simulated
    end = ("--end", str(sessions[-1]))
    result = printed("replay", "--start", str(sessions[-15]), *end)
    assert result["agrees"]
    assert result["sessions"] == 15
    assert result["trades"] > 0
    assert "trades as the simulation does" in kobe("replay", "--start", str(sessions[-3]), *end).stdout


def test_preflight_prints_every_line(simulated: Any) -> None:
    result = kobe("preflight")
    assert result.exit_code == 0, result.stdout
    for word in ("kill switch", "audit chain", "positions", "calendar", "pass"):
        assert word in result.stdout
    KillSwitch().turn_on("no")
    stopped = printed("preflight")
    assert not stopped["passed"]
    assert [line["mend"] for line in stopped["lines"] if line["name"] == "kill switch"] == [
        "`kobe kill off` when the reason is gone"
    ]


def test_preflight_without_keys_says_so_in_its_line_and_answers_the_rest(
    simulated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOBE_BROKER__STAGE", "paper")
    result = printed("preflight")
    lines = {line["name"]: line for line in result["lines"]}
    assert not result["passed"]
    assert lines["keys"]["seen"] == "missing"
    assert "ALPACA_API_KEY_ID" in lines["keys"]["mend"]
    assert "no keys" in lines["account"]["seen"]
    monkeypatch.setenv("COLUMNS", "220")
    shown = kobe("preflight").stdout
    assert shown.count("there are no keys") == 1, "said once"
    assert re.search(r"not looked at, for the same reason as account: .*clock, calendar, market", " ".join(shown.split()))
    assert lines["kill switch"]["passed"]
    assert lines["disk"]["passed"]


ALL_NAMES = f"use one of {', '.join(sorted(STRATEGIES))}"


@pytest.mark.parametrize("by_option", [True, False])
def test_preflight_fails_an_unknown_strategy_in_its_line(
    simulated: Any, monkeypatch: pytest.MonkeyPatch, by_option: bool
) -> None:
    if not by_option:
        monkeypatch.setenv("KOBE_PORTFOLIO__STRATEGIES", '{"rsi9": 1}')
    result = kobe("preflight", "--json", *(("--strategy", "rsi9") if by_option else ()))
    assert result.exit_code == 1
    lines = {line["name"]: line for line in parsed(result)["lines"]}
    assert not lines["strategy"]["passed"]
    assert lines["strategy"]["mend"].startswith(ALL_NAMES)
    assert lines["market"]["passed"]


@pytest.mark.parametrize(
    "command", [("trade",), ("reconcile",), ("config", "pin"), ("replay", "--start", "2010-01-04", "--end", "2010-02-01")]
)
def test_a_strategy_of_the_settings_that_nobody_declared_is_refused(
    simulated: Any, monkeypatch: pytest.MonkeyPatch, home: Path, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("KOBE_PORTFOLIO__STRATEGIES", '{"rsi9": 1}')
    refusal = kobe(*command).exception
    assert isinstance(refusal, UsageError)
    assert ALL_NAMES in str(refusal)
    assert not (home / "broker").exists()


def test_a_strategy_declared_by_the_user_may_trade(simulated: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "mine.py").write_text(
        "from dataclasses import replace\nfrom kobe_assets.research.strategies import STRATEGIES\n"
        f"MINE = replace(STRATEGIES[{STRATEGY!r}], name='mine')\n"
    )
    monkeypatch.setenv("KOBE_STRATEGY__FOLDER", str(own))
    monkeypatch.setenv("KOBE_PORTFOLIO__STRATEGIES", '{"mine": 1}')
    assert kobe("config", "pin").exit_code == 0
    assert printed("trade")["strategy"] == "mine"


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "names 'mine', which is no strategy"), ("def half(:\n", "cannot be imported, see {own}/mine.py:1")],
    ids=["gone", "broken"],
)
def test_the_account_shows_what_is_held_though_its_strategy_cannot_be_read(
    simulated: Any, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None, why: str
) -> None:
    assert printed("trade", "--session", str(simulated[1].entry_session))["filled"] >= 1
    held = {row["symbol"]: row for row in printed("account", "--without-simulation")["positions"]}
    with contextlib.closing(sqlite3.connect(home / "orders.sqlite")) as connection, connection:
        connection.execute("UPDATE positions SET strategy = 'mine' WHERE symbol = ?", (min(held),))
    own = tmp_path / "own"
    own.mkdir()
    if content is not None:
        (own / "mine.py").write_text(content)
    monkeypatch.setenv("KOBE_STRATEGY__FOLDER", str(own))
    monkeypatch.setenv("KOBE_PORTFOLIO__STRATEGIES", '{"mine": 1}')
    shown = kobe("account", "--json")
    assert shown.exit_code == 0, shown.output
    view = json.loads(shown.stdout)
    found = {row["symbol"]: row for row in view["positions"]}
    assert {symbol: (row["shares"], row["stop"]) for symbol, row in found.items()} == {
        symbol: (row["shares"], row["stop"]) for symbol, row in held.items()
    }
    assert found[min(held)]["next_exit"] == "by its stop alone: its strategy is not registered"
    assert view["tomorrow"] is view["simulated"] is None
    assert sum(why.format(own=own) in note for note in view["notes"]) == 1, view["notes"]


def parsed(result: Result) -> Any:
    return json.loads(result.stdout)


@pytest.mark.parametrize("wanted", ["kobe-0000000000000000", "x", "sim:ibs", "sim:ibs:canonical:KO:2020-01-01", "%%%%%%%%%"])
def test_an_unknown_id_is_one_line(simulated: Any, wanted: str) -> None:
    result = kobe("trace", wanted)
    assert isinstance(result.exception, KobeError)
    assert "\n" not in str(result.exception)
    assert wanted.startswith("sim:") or "`kobe trace` lists" in str(result.exception)


def test_a_simulated_trade_is_traced_to_its_signal(simulated: Any, home: Path) -> None:
    _, trade = simulated
    with Warehouse().transaction() as connection:
        connection.execute(
            "INSERT INTO wf_trades VALUES ('ibs', 'canonical', 1, 'ibs', ?, ?, ?, ?, ?, ?, ?, ?, 1, 1, 0, 0, 0, 1, 0, 0)",
            [trade.symbol, trade.side, trade.signal_session, trade.entry_session, trade.entry_price, trade.exit_session,
             trade.exit_price, trade.exit_reason],
        )  # fmt: skip
    found = printed("trace", f"sim:ibs:canonical:{trade.symbol}:{trade.entry_session}")
    assert found["trade"]["exit_reason"] == trade.exit_reason
    assert found["signal"][0]["side"] == trade.side


def test_the_phrase_that_a_person_types_stands_on_a_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    phrase = "trade live 2024-03-06 123456789"
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("typer.prompt", lambda *_, **__: "no")
    assert trading._typed(phrase, None) == "no"
    assert phrase in capsys.readouterr().err.splitlines()


def test_a_run_that_met_a_shut_market_ends_with_1_though_all_is_protected(
    simulated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, trade = simulated
    run = trading._trade

    def shut(*arguments: Any) -> Any:
        summary = run(*arguments)
        assert summary is not None
        return dataclasses.replace(summary, untraded="the market is shut until tomorrow")

    monkeypatch.setattr(trading, "_trade", shut)
    done = kobe("trade", "--session", str(trade.entry_session))
    assert done.exit_code == 1
    assert "nothing was traded" in done.stdout
    monkeypatch.setattr(trading, "_trade", run)
    assert kobe("trade", "--session", str(trade.entry_session)).exit_code == 0


def test_a_live_session_is_traded_once_a_person_has_typed_its_phrase_and_not_before(
    simulated: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, trade = simulated
    settings, number = load_settings(), "123456789"
    terms = dataclasses.replace(simulated_terms(settings), account_number=number, fractional=False)
    with EmbeddedBroker(home / "live", StoredBars.of_warehouse(Warehouse()), terms) as embedded:
        embedded.advance_to(trade.entry_session, "open")
        hosts = Hosts(embedded.url, embedded.url, is_live=True)
        monkeypatch.setattr("kobe_jobs.trading.context.open_broker", lambda *_: AlpacaBroker(hosts, "key", "secret"))
        monkeypatch.setattr("kobe_jobs.trading.session.check_ready", lambda _: None)
        monkeypatch.setattr("kobe_jobs.trading.admission.check_evidence", lambda *_: None)
        for name, value in {"KOBE_BROKER__STAGE": "live", "KOBE_SIZING__WHOLE_SHARES": "true"}.items():
            monkeypatch.setenv(name, value)
        phrase = f"trade live {trade.entry_session} {number}"
        for typed in ([], ["--confirm", "yes"], ["--confirm", phrase.replace(number, "987654321")]):
            refused = kobe("trade", *typed)
            assert isinstance(refused.exception, KobeError)
            assert refused.exception.hint == f"type exactly: {phrase}"
        assert embedded.book.state.row("SELECT 1 FROM orders") is None
        done = printed("trade", "--confirm", phrase)
        assert done["stage"] == "live"
        assert done["filled"] >= 1
        sent = embedded.book.state.rows("SELECT client_order_id FROM orders")
        assert printed("trade")["notes"][0].startswith(f"session {trade.entry_session} was already traded"), "asked once"
        assert embedded.book.state.rows("SELECT client_order_id FROM orders") == sent


def test_live_is_refused_without_keys(simulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_BROKER__STAGE", "live")
    result = kobe("trade")
    assert isinstance(result.exception, KobeError)
    assert "ALPACA_API_KEY_ID" in str(result.exception)
