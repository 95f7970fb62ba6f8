"""The account: what the command and the page show is what ledger, broker and bars say; the switch is turned on by a click."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import math
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from kobe_jobs.cli.output import shares_text
from kobe_jobs.ops.health.checks import ask_account
from kobe_jobs.ops.ui.account_page import data
from kobe_jobs.ops.ui.account_page.routes import account_routes
from kobe_jobs.trading.account import AccountView, look_at_account, orders_by_state, simulated_curve
from kobe_jobs.trading.context import open_trading_context
from kobe_jobs.trading.on_record import ledger_to_look_at
from kobe_jobs.trading.reporting.dagster_events import run_events
from kobe_jobs.trading.reporting.trace import trace
from kobe_jobs.trading.session import trade_session
from kobe_resources import open_warehouse
from kobe_resources.kill_switch import KillSwitch
from kobe_resources.order_ledger import OrderLedger
from kobe_resources.runtime.report_site import listen_on, serving_reports
from kobe_resources.settings.models import Settings
from kobe_resources.settings.secrets import Secrets
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders.traded_home import market_settings, stand_before_the_end, trade_sessions
from tests.support.drivers.command import invoked


@pytest.fixture(scope="module")
def traded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Settings]]:
    """A folder that traded some sessions, and its settings."""
    home = tmp_path_factory.mktemp("traded") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOBE_HOME", str(home))
        settings = market_settings(home)
        stand_before_the_end(settings)
        trade_sessions(settings, 9)
        yield home, settings


@pytest.fixture
def view(traded: tuple[Path, Settings], monkeypatch: pytest.MonkeyPatch) -> AccountView:
    monkeypatch.setenv("KOBE_HOME", str(traded[0]))
    with ledger_to_look_at() as ledger:
        return look_at_account(traded[1], ledger, Warehouse())


@pytest.fixture
def site(traded: tuple[Path, Settings], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("KOBE_HOME", str(traded[0]))
    monkeypatch.setattr(data, "load_settings", lambda: traded[1])
    with serving_reports(listen_on(0, ""), pages=account_routes()) as url:
        yield url
    KillSwitch().turn_off()


def test_the_account_is_worth_what_its_cash_and_shares_are(view: AccountView, traded: tuple[Path, Settings]) -> None:
    """The sum over every position ever equals the broker's own cash and what the open shares are worth at the close."""
    assert view.positions
    assert view.fills
    worth = math.fsum((1 if held.side == "long" else -1) * held.worth for held in view.positions)
    assert view.equity == pytest.approx(view.cash + worth, abs=1e-6)
    assert view.curve[-1] == view.equity
    assert len(view.sessions) == 9
    assert view.pnl == pytest.approx(view.equity - 10_000)
    assert view.reconciliation is not None
    assert view.reconciliation["agrees"]
    json.dumps(view.as_json(), allow_nan=False)


def test_every_position_has_its_stop_bars_and_next_exit(view: AccountView) -> None:
    stops = {row.symbol: row.price for row in view.working if row.purpose == "stop"}
    assert view.positions
    for held in view.positions:
        assert held.stop == pytest.approx(stops[held.symbol])
        days = [day for day in view.sessions if day >= held.entry_session]
        assert held.bars_held <= len(days)
        # `ibs` declares no exit of its own: none may be promised.
        assert re.fullmatch(r"at the next open: .+|after \d more bars?|by its stop, .+", held.next_exit), held.next_exit


def test_what_goes_on_from_other_settings_is_said(view: AccountView, traded: tuple[Path, Settings]) -> None:
    assert view.notes == ()
    plain = traded[1].model_dump()
    other = Settings.model_validate({**plain, "portfolio": {"strategies": {"rsi2": 1.0}}})
    slower = Settings.model_validate({**plain, "strategy": {**plain["strategy"], "time_stop": 19}})
    paper = Settings.model_validate({**plain, "broker": {**plain["broker"], "stage": "shadow"}})
    held = [row.symbol for row in view.positions]
    assert held
    with ledger_to_look_at() as ledger:
        notes = {name: look_at_account(s, ledger, Warehouse(), with_tomorrow=False).notes
                for name, s in (("other", other), ("slower", slower), ("shadow", paper))}  # fmt: skip
    assert list(notes["other"]) == [
        f"{symbol} belongs to ibs, which trades no more, and leaves by its rules" for symbol in held
    ]
    assert notes["slower"]
    assert all("leaves by the rules it was entered with (ibs: time_stop " in text for text in notes["slower"])
    (elsewhere,) = notes["shadow"]
    assert all(symbol in elsewhere for symbol in held)
    assert elsewhere.endswith("; only runs of that stage let it leave")


def test_a_trace_counts_the_bars_of_a_position_as_the_account_does(view: AccountView, traded: tuple[Path, Settings]) -> None:
    with OrderLedger(traded[0] / "orders.sqlite") as ledger:
        ids = {row["symbol"]: row["id"] for row in ledger.rows("SELECT id, symbol FROM positions WHERE is_open = 1")}
        assert view.positions
        for held in view.positions:
            bars = "1 bar" if held.bars_held == 1 else f"{held.bars_held} bars"
            assert f"shares are held, {bars} by now" in trace(ledger, Warehouse(), ids[held.symbol]).in_words[5]


def test_a_fill_is_measured_against_the_open(view: AccountView, traded: tuple[Path, Settings]) -> None:
    slip = traded[1].costs.slippage_bps
    entries = [row for row in view.fills if row.purpose == "entry"]
    assert entries
    assert all(row.slippage_bps == pytest.approx(slip, abs=1e-6) for row in entries)


def test_the_simulation_beside_it_is_worth_the_same_at_the_start(view: AccountView, traded: tuple[Path, Settings]) -> None:
    days = dt.date.fromisoformat(str(view.started)), dt.date.fromisoformat(view.as_of)
    curve = simulated_curve(traded[1], Warehouse(), *days)
    assert curve is not None
    assert len(curve) == len(view.curve)
    assert curve == pytest.approx(list(view.curve), abs=1e-6)


def test_a_folder_without_orders_shows_an_account_that_has_not_begun(
    tmp_path: Path, traded: tuple[Path, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    shutil.copy(traded[0] / "kobe.duckdb", fresh)
    monkeypatch.setenv("KOBE_HOME", str(fresh))
    with ledger_to_look_at() as ledger:
        view = look_at_account(traded[1], ledger, Warehouse())
    assert (view.equity, view.started, view.positions) == (10_000.0, None, ())
    assert not (fresh / "orders.sqlite").exists()


def test_orders_are_counted_by_state(view: AccountView, traded: tuple[Path, Settings]) -> None:
    with OrderLedger(traded[0] / "orders.sqlite") as ledger:
        counted = orders_by_state(ledger)
        (row,) = ledger.rows("SELECT count(*) AS n FROM intents")
    assert sum(counted.values()) == row["n"]
    assert counted == view.orders_by_state


def post(url: str, body: bytes, **headers: str) -> int:
    request = urllib.request.Request(url, body, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_switch_refuses_foreign_pages_and_wants_a_reason(site: str) -> None:
    kill, good = f"{site}account/kill", b'{"reason": "a test"}'
    json_type = "application/json"
    assert post(kill, good, Content_Type=json_type, Origin="http://evil.example") == 403
    assert post(kill, good, Content_Type=json_type, Origin="null") == 403
    assert post(kill, good, Content_Type=json_type, Host="evil.example") in (400, 403)
    assert post(kill, good, Content_Type="text/plain", Origin=site.rstrip("/")) == 403
    assert post(kill, b'{"reason": "  "}', Content_Type=json_type) == 400
    assert post(kill, b"[1, 2", Content_Type=json_type) == 400
    assert not KillSwitch().status().is_on
    assert post(kill, good, Content_Type=json_type, Origin=site.rstrip("/")) == 200
    assert KillSwitch().status().reason == "a test"
    with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(f"{site}account/kill", timeout=20) as answer:
        pytest.fail(f"a GET is no click: {answer.status}")


def test_the_page_shows_the_account_and_turns_the_switch_on(
    site: str, view: AccountView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a browser, wide and narrow: nothing is asked elsewhere, nothing breaks, nothing lies beside the screen."""
    monkeypatch.setattr("kobe_jobs.trading.account.held_elsewhere", lambda *_: ["paper:PA9 holds KO"])
    from playwright.sync_api import sync_playwright

    found = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
    assert found, "the page is tested in a real browser: install chromium"
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        asked: list[str] = []
        wrong: list[str] = []
        for width in (1280, 400):
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.on("request", lambda request: asked.append(request.url))
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
            page.goto(f"{site}account")
            page.wait_for_selector("html[data-shown=yes]", state="attached", timeout=60_000)
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
            assert page.locator("#positions-body tbody tr").count() == len(view.positions)
            assert page.locator("#fills-body tbody tr").count() == len(view.fills)
            assert "Ledger and broker agreed" in page.inner_text("#reconciled")
            assert f"{view.equity:,.2f}" in page.inner_text("h1")
            assert page.evaluate(
                """() => [...document.querySelectorAll(".tile-value")].every((value) => {
                     value.textContent = "+$1,100,066.65";
                     return value.scrollWidth <= value.clientWidth && value.clientHeight < 45;
                   })"""
            ), "an amount stands on one line"
            assert "another account: paper:PA9 holds KO" in page.inner_text("#positions-body")
        page.click("#kill-open")
        page.click("#kill-sure")
        page.wait_for_selector("#kill-problem:not([hidden])")
        assert not KillSwitch().status().is_on, "not without a reason"
        page.fill("#kill-reason", "<b>odd</b> fills")
        page.click("#kill-sure")
        page.wait_for_selector("#switch.on")
        assert "<b>odd</b> fills" in page.inner_text("#switch-says")
        assert page.locator("#kill-open").is_hidden(), "off only by command"
        browser.close()
    assert KillSwitch().status().reason == "<b>odd</b> fills"
    assert wrong == ["Failed to load resource: the server responded with a status of 400 (Bad Request)"]
    assert {url.removeprefix(site).partition("?")[0] for url in asked} == {"account", "account.json", "account/kill"}


def test_what_broke_is_said_on_the_page(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("the ledger fell over")

    monkeypatch.setattr(data, "look_at_account", broken)
    with urllib.request.urlopen(f"{site}account.json", timeout=20) as answer:
        answered = json.load(answer)
    assert answered["account"] is None
    assert "the ledger fell over" in answered["problem"]


def test_a_notebook_has_positions_orders_and_fills(view: AccountView, traded: tuple[Path, Settings]) -> None:
    tables = open_warehouse(traded[0] / "kobe.duckdb")
    assert list(tables.positions(open_only=True)["symbol"]) == [held.symbol for held in view.positions]
    assert tables.positions("paper").empty
    assert len(tables.orders()) == sum(view.orders_by_state.values())
    assert set(tables.orders(session=view.as_of)["session"].astype(str)) == {view.as_of}
    fills = tables.fills("simulated")
    assert len(fills) == len(view.fills)
    shown = [row.slippage_bps for row in reversed(view.fills)]
    assert fills["slippage_bps"].to_numpy() == pytest.approx(shown, abs=1e-9, nan_ok=True)
    assert fills["leg"].str.startswith("stop").any()
    assert fills[fills["leg"] == "entry"]["slippage_bps"].to_numpy() == pytest.approx(traded[1].costs.slippage_bps, abs=1e-6)
    closed = tables.positions().query("is_open == 0")
    expected = view.pnl - view.unrealised
    assert closed["realised"].sum() == pytest.approx(expected, abs=0.05)


def test_health_measures_the_account(view: AccountView, traded: tuple[Path, Settings]) -> None:
    answer = ask_account(traded[1])
    assert answer.metrics["equity"] == pytest.approx(view.equity)
    assert answer.metrics["positions"] == len(view.positions)


def test_dagster_shows_tables_to_four_digits(view: AccountView, traded: tuple[Path, Settings]) -> None:
    """The last session's run again: it is done, and its summary tells what there is."""
    with open_trading_context(traded[1], Secrets(), leave_clock=True) as trading:
        summary = trade_session(trading, dt.date.fromisoformat(str(view.last_session)))
    events = {str(event.asset_key.to_user_string()): event.metadata for event in run_events(summary)}
    records = events["positions"]["positions"].records  # type: ignore[union-attr]
    assert [record.data["symbol"] for record in records] == [held.symbol for held in view.positions]
    digits = [str(value).partition(".")[2] for record in records for value in record.data.values()]
    assert max(map(len, digits)) <= 4
    assert summary.orders
    assert "orders" in events["orders"]
    shown = {name: value for facts in events.values() for name, value in facts.items() if name != "summary"}
    assert not [name for name, value in shown.items() if isinstance(value, dg.JsonMetadataValue)], "tables, not JSON"


def test_a_trace_opens_with_six_lines_for_a_trader(view: AccountView, traded: tuple[Path, Settings]) -> None:
    with OrderLedger(traded[0] / "orders.sqlite") as ledger:
        rows = ledger.rows("SELECT client_order_id AS id, state, leg, symbol, reason FROM intents ORDER BY rowid")
        assert {"FILLED", "VETOED"} <= {row["state"] for row in rows}
        traces = {row["id"]: trace(ledger, Warehouse(), row["id"]) for row in rows}
        closed = next(row["id"] for row in ledger.rows("SELECT id FROM positions WHERE is_open = 0"))
    opening = ["Signal", "Reading", "Quote", "Gate", "Fill", "Result"]
    for row in rows:
        words = traces[row["id"]].in_words
        assert [line.partition(":")[0] for line in words] == opening
        assert row["symbol"] in words[0]
        assert not re.search(r"\d\.\d{5}|kobe-|_|None", " ".join(words)), words
        if row["state"] == "VETOED":
            assert words[3].startswith("Gate: refused")
            assert words[2] != "Quote: there was none." or row["reason"] == "no_quote"
            assert words[5] == "Result: no position came of it."
    done = traces[closed].in_words
    assert re.search(r", [+−]\d+\.\d bps against the open \$\d", done[4])
    assert re.search(r"left on \d{4}-\d\d-\d\d at \$[\d,.]+ \(.+\) after \d+ bars: [+−]\$", done[5])
    assert traces[closed].as_json()["in_words"] == list(done)


@pytest.fixture
def home(traded: tuple[Path, Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the traded home, in force, which a test may change."""
    folder = tmp_path / "home"
    shutil.copytree(traded[0], folder)
    monkeypatch.setenv("KOBE_HOME", str(folder))
    return folder


def test_the_command_shows_the_account_by_day_and_in_the_evening(
    view: AccountView, traded: tuple[Path, Settings], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the evening the clock has passed the session's bar: what its stops sold is known by the next run."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("kobe_jobs.cli.commands.account.load_settings", lambda: traded[1])
    last = dt.date.fromisoformat(str(view.last_session))
    shown = {}
    for phase in ("midday", "evening"):
        with open_trading_context(traded[1], Secrets(), leave_clock=True) as trading:
            trading.broker.embedded.advance_to(last, phase)  # type: ignore[attr-defined]
        done = invoked("account")
        assert done.exit_code == 0
        shown[phase] = done.stdout
        printed = json.loads(invoked("account", "--without-simulation", "--json").stdout)
        assert (printed["as_of"], printed["last_session"]) == (view.as_of, str(last))
        assert printed["equity"] == pytest.approx(view.equity)
    text = shown["evening"]
    assert text.splitlines()[:2] == [f"ibs, stage simulated, account {view.number}", f"at the close of {view.as_of}"]
    for words in (
        f"${view.equity:,.2f}",
        "the simulation",
        "cash at the broker",
        "kill switch off",
        "ledger and broker agreed",
    ):
        assert words in text
    assert all(held.symbol in text for held in view.positions)
    assert "next run, " in text
    health = re.compile(r"health: .*")
    assert health.sub("", text) == health.sub("", shown["midday"])


def test_a_position_is_marked_at_closes_that_it_has_seen_and_a_passed_stop_is_said(
    view: AccountView, traded: tuple[Path, Settings], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = view.positions[0]
    beyond = held.close * (1.01 if held.side == "long" else 0.99)

    def seen(change: str, *values: str) -> Any:
        with OrderLedger(home / "orders.sqlite") as ledger, ledger.write() as write:
            write.execute(f"UPDATE positions SET {change} WHERE is_open = 1 AND symbol = ?", (*values, held.symbol))
        with ledger_to_look_at() as ledger:
            found = look_at_account(traded[1], ledger, Warehouse(), with_tomorrow=False)
        return next(row for row in found.positions if row.symbol == held.symbol)

    assert seen("stop_price = ?", repr(beyond)).next_exit == "by its stop, which the last close has passed"
    later = dt.date.fromisoformat(view.as_of) + dt.timedelta(days=1)
    new = seen("entry_session = ?", later.isoformat())
    assert (new.close, new.pnl) == (held.entry, 0.0), "the close before it says nothing of what was bought since"


def test_a_stop_that_the_session_s_bar_has_hit_is_said_until_the_next_run_books_it(
    view: AccountView, traded: tuple[Path, Settings], home: Path
) -> None:
    held = view.positions[0]
    assert f"{view.as_of} has hit" not in str(view.notes)
    name, past = ("low", 0.999) if held.side == "long" else ("high", 1.001)
    with Warehouse().transaction() as connection:
        change = f"UPDATE daily_bars SET {name} = ? WHERE symbol = ? AND session = ?"
        connection.execute(change, [held.stop * past, held.symbol, view.as_of])
    with ledger_to_look_at() as ledger:
        view_now = look_at_account(traded[1], ledger, Warehouse(), with_tomorrow=False)
    assert view_now.notes == (f"stops that the bar of {view.as_of} has hit are booked by the next run: {held.symbol}",)
    trade_sessions(traded[1], 1)
    with ledger_to_look_at() as ledger:
        after = look_at_account(traded[1], ledger, Warehouse(), with_tomorrow=False)
    stopped = [(row.session, row.purpose) for row in after.fills if row.symbol == held.symbol]
    assert (view.as_of, "stop") in stopped
    assert f"{view.as_of} has hit" not in str(after.notes)


@pytest.mark.parametrize(("shares", "text"), [(12_345.0, "12,345"), ("3", "3"), (0.123456, "0.1235"), ("250000", "250,000")])
def test_a_number_of_shares_is_never_an_exponent(shares: Any, text: str) -> None:
    assert shares_text(shares) == text


def test_a_split_of_what_is_held_is_said_the_evening_before(
    view: AccountView, traded: tuple[Path, Settings], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert view.tomorrow is not None
    day, symbol = view.tomorrow["session"], view.positions[0].symbol
    with Warehouse().transaction() as connection:
        connection.execute("INSERT INTO splits VALUES (?, ?, 1, 3, 'test')", [symbol, day])
    with ledger_to_look_at() as ledger:
        coming = look_at_account(traded[1], ledger, Warehouse()).tomorrow
    assert coming is not None
    assert f"{symbol} splits 3-for-1 at that open: its stop is lifted before it, and set again after it" in coming["notes"]
