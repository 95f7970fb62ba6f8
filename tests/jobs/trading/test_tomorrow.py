"""Tomorrow's orders are those that the run then sends: same symbols, same reasons, and nothing is written."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kobe_assets.research.strategies import STRATEGIES
from kobe_jobs.trading import tomorrow
from kobe_jobs.trading.account import look_at_account
from kobe_jobs.trading.context import open_trading_context
from kobe_jobs.trading.daily_budget import budget_words
from kobe_jobs.trading.market_snapshot import MarketSnapshot
from kobe_jobs.trading.next_session import next_session
from kobe_jobs.trading.on_record import NothingToLookAt, _embedded_state, account_on_record, ledger_to_look_at
from kobe_jobs.trading.reporting.alerts import alert_of_next_orders
from kobe_jobs.trading.session import trade_session
from kobe_jobs.trading.tomorrow import Tomorrow, in_words, next_orders, orders_of_tomorrow
from kobe_resources import calendar
from kobe_resources.alerts import AlertMessage
from kobe_resources.errors import UsageError
from kobe_resources.kill_switch import KillSwitch
from kobe_resources.order_ledger import OrderState
from kobe_resources.settings.models import Settings
from kobe_resources.settings.secrets import Secrets
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders.traded_home import BEFORE_THE_END, market_settings, stand_before_the_end, trade_sessions
from tests.support.drivers.command import kobe

pytestmark = pytest.mark.usefixtures("warehouses_stay_open")

SESSIONS = BEFORE_THE_END


@pytest.fixture
def market(home: Path) -> Settings:
    """A market in the data folder."""
    return market_settings(home)


def look(settings: Settings, session: dt.date | None = None) -> Tomorrow:
    with ledger_to_look_at() as ledger:
        return orders_of_tomorrow(settings, ledger, Warehouse(), session)


def test_the_report_is_given_the_same_in_words_and_nothing_where_there_is_nothing(market: Settings) -> None:
    stand_before_the_end(market)
    given, coming = next_orders(market, Warehouse()), look(market)
    assert given is not None
    assert (given["session"], given["entries"]) == (coming.session.isoformat(), coming.as_json()["entries"])
    assert [row["reason"] for row in given["refused"]] == [in_words(row.reason) for row in coming.refused]
    with Warehouse().transaction() as connection:
        connection.execute("DELETE FROM daily_bars")
    assert next_orders(market, Warehouse()) is None


def test_the_next_run_sends_what_was_told_and_refuses_the_rest(market: Settings, home: Path) -> None:
    stand_before_the_end(market)
    entered, left, refused = 0, 0, 0
    for _ in range(SESSIONS - 1):
        coming = look(market)
        assert look(market) == coming, "looking changes nothing"
        with open_trading_context(market, Secrets(), leave_clock=True) as trading:
            session = next_session(trading)
            assert session == coming.session
            done = trade_session(trading, session)
        exits = {(row["symbol"], row["reason"]) for row in done.orders if row["leg"].startswith("exit")}
        assert exits == {(row.symbol, row.reason) for row in coming.exits}
        # What the morning's price decides: the size of an order, and with it who still finds room in the budget.
        by_price = {"exceeds_daily_budget", "exceeds_order_budget", "insufficient_cash", "below_one_share", "gap_too_wide"}
        denied = {
            row["symbol"]: row["reason"] for row in done.orders if row["leg"] == "entry" and row["state"] == OrderState.DENIED
        }
        sent = {row["symbol"] for row in done.orders if row["leg"] == "entry"} - set(denied)
        loose = {symbol for symbol, reason in denied.items() if reason in by_price | {"no_quote"}}
        assert {row.symbol for row in coming.entries} - loose <= sent
        assert all(
            denied.get(row.symbol, row.reason).split(":")[0] == row.reason.split(":")[0] or row.reason in by_price
            for row in coming.refused
        )
        entered, left, refused = entered + len(coming.entries), left + len(coming.exits), refused + len(coming.refused)
    assert min(entered, left, refused) > 0, (entered, left, refused)
    assert min(entered, left) >= 2, "the market gives all three something to say"


def changed(settings: Settings, **sections: dict[str, Any]) -> Settings:
    plain = settings.model_dump()
    for name, values in sections.items():
        plain[name] |= values
    return Settings.model_validate(plain)


def test_a_limit_as_a_share_of_the_account_is_told_with_its_dollars(market: Settings) -> None:
    stand_before_the_end(market)
    shares = changed(market, policy={"max_daily_notional": None, "max_daily_fraction": 0.01})
    coming = look(shares)
    assert (coming.budget, coming.budget_share) == (100.0, 0.01)
    assert coming.dollars <= 100.0
    with ledger_to_look_at() as ledger:
        view = look_at_account(shares, ledger, Warehouse())
    assert (view.budget, view.budget_share) == (100.0, 0.01)
    assert budget_words(coming.budget, coming.budget_share) == "of $100.00 a session (1 % of the account)"
    assert look(changed(market, policy={"max_daily_fraction": 0.5})).budget == 200.0, "the tighter of the two"
    assert budget_words(None, None) == "without a daily budget"


def test_a_session_that_is_over_is_told_as_such(market: Settings) -> None:
    def notes(stage: str, vendor: str = "synthetic") -> str:
        return " ".join(look(changed(market, broker={"stage": stage}, data={"vendor": vendor})).notes)

    ((last,),) = Warehouse().rows("SELECT max(session) FROM daily_bars")
    coming = look(changed(market, broker={"stage": "shadow"}))
    following = calendar.sessions(coming.session, coming.session + dt.timedelta(days=15))[1]
    assert f"{coming.session} is over: `kobe trade` books it on paper, then this shows {following}" in coming.notes
    assert f"the bars end on {last} and " in notes("paper", "polygon")
    assert " is past: nothing of this would be sent; `kobe report` brings newer bars" in notes("paper", "polygon")
    assert "newer files bring newer bars" in notes("paper", "files")
    stand_before_the_end(market)
    assert "over" not in notes("simulated")


def test_money_of_a_broker_that_was_never_reached_is_told_as_assumed(market: Settings) -> None:
    with ledger_to_look_at() as ledger:
        live = look_at_account(changed(market, broker={"stage": "paper"}), ledger, Warehouse(), with_tomorrow=False)
        own = look_at_account(market, ledger, Warehouse(), with_tomorrow=False)
    assumed = "equity and cash are not known: the broker was never reached (assumed $10,000 of simulation.initial_cash)"
    assert assumed in live.notes
    assert assumed not in own.notes


def test_an_embedded_account_is_found_in_a_folder_of_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "50%23 a#b?c"
    folder.mkdir()
    with contextlib.closing(sqlite3.connect(folder / "broker.sqlite")) as state, state:
        state.execute("CREATE TABLE account AS SELECT 'PA1' AS number, '2026-01-05' AS session, 'closed' AS phase")
    assert _embedded_state(folder) == ("PA1", "2026-01-05", "closed")


def test_a_strategy_that_is_simulated_only_has_no_next_run(market: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_before_the_end(market)
    bare = replace(STRATEGIES["ibs"], stop=None, parameters={"ibs_entry": 0.2, "time_stop": 5.0}, grid={})
    monkeypatch.setitem(STRATEGIES, "ibs", bare)
    with pytest.raises(UsageError, match="ibs is not traded: without a protective stop"):
        look(market)
    assert next_orders(market, Warehouse()) is None
    with ledger_to_look_at() as ledger:
        view = look_at_account(market, ledger, Warehouse())
    assert view.tomorrow is None
    assert any("ibs is not traded" in note for note in view.notes)


def test_before_the_open_exits_to_come_pay_for_no_entry(market: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_before_the_end(market)
    while not look(market).exits:
        trade_sessions(market, 1)
    asked: list[float] = []
    monkeypatch.setattr("kobe_jobs.trading.tomorrow.plan_entries", lambda _, cash: asked.append(float(cash)))
    at_quote = look(market)
    auction = market.model_copy(update={"execution": market.execution.model_copy(update={"entry": "opg"})})
    in_auction = look(auction)
    assert at_quote.exits == in_auction.exits
    assert asked[0] == pytest.approx(at_quote.cash)
    assert asked[1] == pytest.approx(_cash_on_record(auction))


def _cash_on_record(settings: Settings) -> float:
    with ledger_to_look_at() as ledger:
        return float(account_on_record(settings, ledger).cash)


def test_every_entry_has_limit_stop_and_dollars(market: Settings) -> None:
    stand_before_the_end(market)
    coming = next(found for found in (look(market, day) for day in _sessions()) if found.entries)
    for entry in coming.entries:
        assert entry.dollars == pytest.approx(entry.shares * entry.limit)
        assert entry.stop is not None
        assert (entry.stop < entry.limit) == (entry.side == "buy")
    assert json.loads(json.dumps(coming.as_json()))["dollars"] == pytest.approx(sum(e.dollars for e in coming.entries))
    assert any(coming.entries[0].symbol in line for line in coming.lines())
    # The limit of a short sale is the least that it takes, that of a purchase the most that it pays.
    assert all(" or better" in line for line in coming.lines()[: len(coming.entries)])


def test_looking_ahead_reads_the_bars_of_what_is_held_and_of_no_signal(
    market: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_before_the_end(market)
    read: list[tuple[set[str], set[str]]] = []
    real = tomorrow.load_market_snapshot

    def noted(*given: Any, **asked: Any) -> MarketSnapshot:
        found = real(*given, **asked)
        read.append((set(found.bars), set(given[4])))
        return found

    monkeypatch.setattr(tomorrow, "load_market_snapshot", noted)
    looks = [look(market, day) for day in _sessions()]
    assert any(found.entries or found.refused for found in looks)
    assert all(bars == held for bars, held in read)


def _sessions() -> list[dt.date]:
    return [row[0] for row in Warehouse().rows("SELECT DISTINCT session FROM signals ORDER BY session DESC LIMIT 6")]


def test_the_kill_switch_is_said(market: Settings) -> None:
    KillSwitch().turn_on("lunch")
    assert any("kill switch is on (lunch)" in note for note in look(market).notes)


def test_a_folder_that_nothing_traded_in_stays_as_it_is(market: Settings, home: Path) -> None:
    before = sorted(path.name for path in home.iterdir())
    look(market)
    assert sorted(path.name for path in home.iterdir()) == before


def test_without_bars_it_says_what_to_do(home: Path) -> None:
    home.mkdir()
    Warehouse().rows("SELECT 1")
    with pytest.raises(NothingToLookAt, match="kobe report"):
        look(Settings())


@pytest.mark.parametrize("command", ["tomorrow", "account"])
def test_bars_of_another_vendor_than_the_settings_are_not_looked_at(market: Settings, command: str) -> None:
    Warehouse().rows("INSERT INTO bar_epochs VALUES (99, 'polygon', now())")
    ended = kobe(command)
    assert ended.code == 1
    assert "bars loaded from polygon, and data.vendor is" in ended.err


def test_the_evenings_orders_are_told_once(market: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[AlertMessage] = []
    sender = "kobe_jobs.trading.reporting.alerts.send_alert"
    monkeypatch.setattr(sender, lambda _settings, message: messages.append(message) or True)
    assert alert_of_next_orders(market)
    assert messages == [], "nobody wished for it"
    plain = market.model_dump() | {"alerts": {"urls": ["json://127.0.0.1:9/x"], "on": ["orders"]}}
    for _ in range(2):
        assert alert_of_next_orders(Settings.model_validate(plain))
    assert messages[0].identity == messages[1].identity
    assert "exits on" in messages[0].what
    assert messages[0].body
