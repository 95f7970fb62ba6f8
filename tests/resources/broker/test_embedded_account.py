"""The embedded account follows the settings, or names `kobe account reset`; that keeps the old state and its ledger rows."""

from __future__ import annotations

import json
import resource
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from kobe_jobs.cli.main import app
from kobe_jobs.trading.context import open_ledger
from kobe_jobs.trading.run_lock import trading_lock
from kobe_resources.broker.exchange.account import OtherAccount
from kobe_resources.broker.exchange.embedded import Moment
from kobe_resources.broker.exchange.state import State, StateUnusable
from kobe_resources.broker.open import embedded_folder, open_broker, reset_embedded, standing_at, start_embedded
from kobe_resources.errors import UsageError
from kobe_resources.order_ledger import OrderLedger
from kobe_resources.settings.load import kobe_home, load_settings
from kobe_resources.settings.models import BrokerSettings, Settings
from kobe_resources.settings.secrets import Secrets
from kobe_resources.warehouse.store import Warehouse
from tests.resources.broker.conftest import FIRST, SESSIONS, flat_rows, limit_order, stop_order

NO_KEYS = Secrets()
KEYS = Secrets(alpaca_api_key_id=SecretStr("PKTEST"), alpaca_api_secret_key=SecretStr("hush"))
OLD_SCHEMA = """
CREATE TABLE account (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL, number TEXT NOT NULL, cash REAL NOT NULL,
    session TEXT NOT NULL, phase TEXT NOT NULL, ticks INTEGER NOT NULL) STRICT;
CREATE TABLE orders (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, client_order_id TEXT NOT NULL UNIQUE,
    symbol TEXT NOT NULL, side TEXT NOT NULL, kind TEXT NOT NULL, time_in_force TEXT NOT NULL,
    qty REAL NOT NULL, limit_price REAL, stop_price REAL, filled_qty REAL NOT NULL DEFAULT 0, filled_avg_price REAL,
    status TEXT NOT NULL, opens INTEGER NOT NULL,
    submitted_at TEXT NOT NULL, updated_at TEXT NOT NULL, filled_at TEXT, canceled_at TEXT, expired_at TEXT,
    hidden_lookups INTEGER NOT NULL DEFAULT 0, hidden_until REAL NOT NULL DEFAULT 0) STRICT;
CREATE INDEX orders_open ON orders (status) WHERE status IN ('new', 'partially_filled');
CREATE TABLE positions (symbol TEXT PRIMARY KEY, qty REAL NOT NULL, avg_entry_price REAL NOT NULL) STRICT;
CREATE TABLE fills (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, order_id TEXT NOT NULL,
    symbol TEXT NOT NULL, side TEXT NOT NULL, qty REAL NOT NULL, price REAL NOT NULL, cum_qty REAL NOT NULL,
    leaves_qty REAL NOT NULL, at TEXT NOT NULL) STRICT;
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Stage simulated with $500 over flat bars."""
    monkeypatch.setenv("KOBE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KOBE_CONFIG", str(tmp_path / "kobe.toml"))
    configure(tmp_path, 500.0)
    columns = ["symbol", "session", "open", "high", "low", "close"]
    bars = pd.DataFrame(flat_rows("KO"), columns=columns).assign(
        volume=1000.0, source="test", fetched_at=pd.Timestamp.now("UTC")
    )
    splits = pd.DataFrame(columns=["symbol", "execution_date", "split_from", "split_to", "source"])
    Warehouse().replace({"daily_bars": bars, "splits": splits})
    return load_settings()


def configure(folder: Path, cash: float, vendor: str = "sample", stage: str = "simulated", more: str = "") -> Settings:
    """Other settings."""
    text = f'[data]\nvendor = "{vendor}"\n[simulation]\ninitial_cash = {cash}\n[broker]\nstage = "{stage}"\n{more}'
    (folder / "kobe.toml").write_text(text, encoding="utf-8")
    return load_settings() if (folder / "home").exists() else Settings()


def begin(settings: Settings, trade: bool = True, stage: Any = "simulated") -> str:
    """Open the account, trade a little, close; its number."""
    broker: Any = open_broker(settings, NO_KEYS, stage, leave_clock=True)
    with standing_at(broker, FIRST):
        number = str(broker.account().number)
        if trade:
            broker.submit(limit_order("a", qty="0.5"))
            broker.embedded.settle()
            broker.submit(stop_order("s", qty="0.5"))
    broker.close()
    return number


def kobe(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_an_account_without_orders_is_made_anew(settings: Settings, tmp_path: Path) -> None:
    first = begin(settings, trade=False)
    assert begin(settings, trade=False) == first
    other = configure(tmp_path, 700.0)
    broker = open_broker(other, NO_KEYS, "simulated")
    assert broker.account().cash == Decimal(700)
    assert broker.account().number != first
    assert broker.account().number.startswith("PA")
    assert broker.clock().timestamp.date() == SESSIONS[-1]
    broker.close()


@pytest.mark.parametrize(("cash", "vendor", "words"), [(700.0, "sample", r"\$500.00"), (500.0, "synthetic", "vendor sample")])
def test_an_account_that_traded_is_not_taken_for_another(
    settings: Settings, tmp_path: Path, cash: float, vendor: str, words: str
) -> None:
    number = begin(settings)
    other = configure(tmp_path, cash, vendor)
    with pytest.raises(OtherAccount, match=f"{number} was begun otherwise.*{words}.*kobe account reset"):
        open_broker(other, NO_KEYS, "simulated")
    assert begin(configure(tmp_path, 500.0), trade=False) == number


def test_bars_without_the_accounts_session_are_named_too(settings: Settings) -> None:
    begin(settings)
    later = pd.DataFrame(flat_rows("KO", sessions=SESSIONS[3:]), columns=["symbol", "session", "open", "high", "low", "close"])
    Warehouse().replace({"daily_bars": later.assign(volume=1.0, source="t", fetched_at=pd.Timestamp.now("UTC"))})
    with pytest.raises(OtherAccount, match="2024-07-01, which is no session"):
        open_broker(settings, NO_KEYS, "simulated")


def test_what_shadow_looks_at_follows_by_itself(settings: Settings, tmp_path: Path) -> None:
    first = begin(settings, trade=False, stage="shadow")
    other = configure(tmp_path, 900.0, stage="shadow")
    assert begin(other, trade=False, stage="shadow") != first


def test_a_reset_keeps_the_old_state_and_leaves_the_ledgers_rows(settings: Settings, tmp_path: Path) -> None:
    number = begin(settings)
    with open_ledger(settings) as ledger, ledger.write() as write:
        write.execute(
            "INSERT INTO session_claims (account, session, strategy, state, owner, lease_until, run_id, started_at) "
            "VALUES (?, '2024-07-01', 'rsi2', 'done', 'me', '', '', '')",
            (f"simulated:{number}",),
        )
        write.audit("test")
    configure(tmp_path, 700.0)
    result = kobe("account", "reset", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert (answer["before"], answer["cash"]) == (number, 700.0)
    assert answer["after"] != number
    broker = open_broker(load_settings(), NO_KEYS, "simulated")
    assert (broker.account().number, broker.account().cash) == (answer["after"], Decimal(700))
    assert (broker.positions(), broker.orders(), broker.fills()) == ([], [], [])
    broker.close()
    kept = sqlite3.connect(answer["kept"])
    assert kept.execute("SELECT number FROM account").fetchall() == [(number,)]
    assert kept.execute("SELECT count(*) FROM fills").fetchone() == (1,)
    kept.close()
    with OrderLedger() as ledger:
        assert [row["account"] for row in ledger.rows("SELECT account FROM session_claims")] == [f"simulated:{number}"]
        assert [row["kind"] for row in ledger.rows("SELECT kind FROM audit")][-1] == "account_reset"
        assert ledger.verify_audit().holds


def test_a_second_reset_at_once_keeps_both(settings: Settings) -> None:
    begin(settings)
    folder = embedded_folder(settings, NO_KEYS, "simulated")
    assert folder == kobe_home() / "broker"
    one, two = reset_embedded(settings, folder), reset_embedded(settings, folder)
    assert two.before == one.after
    assert one.kept != two.kept
    assert one.kept.exists()
    assert two.kept.exists()


def test_a_reset_gets_over_a_file_that_cannot_be_read(settings: Settings) -> None:
    folder = kobe_home() / "broker"
    folder.mkdir(parents=True)
    (folder / "broker.sqlite").write_bytes(b"no database at all, however long it may be" * 50)
    result = kobe("account", "reset")
    assert result.exit_code == 0, result.output
    assert "begins with $500.00" in result.stdout
    (kept,) = folder.glob("unreadable-*.sqlite")
    assert kept.read_bytes().startswith(b"no database")
    begin(settings)


@pytest.mark.parametrize(("stage", "more"), [("paper", ""), ("live", ""), ("simulated", 'base_url = "http://127.0.0.1:9"\n')])
def test_other_stages_have_no_account_to_reset(settings: Settings, tmp_path: Path, stage: str, more: str) -> None:
    number = begin(settings)
    configure(tmp_path, 500.0, stage=stage, more=more)
    result = kobe("account", "reset")
    assert isinstance(result.exception, UsageError)
    assert "is kept by" in str(result.exception)
    assert begin(configure(tmp_path, 500.0), trade=False) == number


def test_shadow_with_keys_has_none_either(settings: Settings) -> None:
    assert embedded_folder(settings, NO_KEYS, "shadow") == kobe_home() / "broker-shadow"
    assert embedded_folder(settings, KEYS, "shadow") is None
    named = settings.model_copy(update={"broker": BrokerSettings(base_url="http://127.0.0.1:9")})
    assert embedded_folder(named, NO_KEYS, "simulated") is None


def test_no_reset_while_another_run_trades(settings: Settings, tmp_path: Path) -> None:
    number = begin(settings)
    with open_ledger(settings) as ledger, trading_lock(ledger):
        result = kobe("account", "reset")
    assert "another run is trading" in str(result.exception)
    assert begin(settings, trade=False) == number


def test_a_renewal_that_fails_leaves_everything(tmp_path: Path) -> None:
    start = Moment(FIRST, "pre_open")
    state = State(tmp_path, "PA1", 500.0, start, "sample")
    state.run("INSERT INTO positions VALUES ('KO', 1, 100)")
    with pytest.raises(sqlite3.IntegrityError):
        state.renew(None, 9.0, start, "sample")  # type: ignore[arg-type]
    assert (state.account()["number"], state.position("KO")) == ("PA1", 1.0)
    state.close()


def test_a_state_of_an_earlier_version_is_taken_over(settings: Settings, tmp_path: Path) -> None:
    folder = kobe_home() / "broker"
    folder.mkdir(parents=True)
    old = sqlite3.connect(folder / "broker.sqlite")
    old.executescript(OLD_SCHEMA)
    old.execute("INSERT INTO account VALUES (1, 'x', 'PA0EMBEDDED0', 399.95, '2024-07-01', 'open', 3)")
    old.execute(
        "INSERT INTO orders (id, client_order_id, symbol, side, kind, time_in_force, qty, stop_price, status, opens, "
        "submitted_at, updated_at) VALUES ('i', 's', 'KO', 'sell', 'stop', 'gtc', 1, 96, 'new', 0, ?1, ?1)",
        ("2024-07-01T14:00:00Z",),
    )
    old.execute("INSERT INTO positions VALUES ('KO', 1, 100.05)")
    old.execute("INSERT INTO fills VALUES (1, 'f', 'e', 'KO', 'buy', 1, 100.05, 1, 0, '2024-07-01T14')")
    old.commit()
    old.close()
    broker = open_broker(settings, NO_KEYS, "simulated", leave_clock=True)
    assert broker.account().number == "PA0EMBEDDED0"
    assert [order.client_order_id for order in broker.orders("open")] == ["s"]
    broker.close()
    with pytest.raises(OtherAccount, match=r"\$500.00"):
        open_broker(configure(tmp_path, 700.0), NO_KEYS, "simulated")


def test_each_new_account_has_a_number_of_its_own_and_its_server_a_key(settings: Settings, tmp_path: Path) -> None:
    with start_embedded(settings, tmp_path / "one") as one, start_embedded(settings, tmp_path / "two") as two:
        assert one.book.state.account()["number"] != two.book.state.account()["number"]
    broker: Any = open_broker(settings, NO_KEYS, "simulated")
    assert broker.embedded.terms.key_id
    assert broker.account().number
    broker.close()


def test_a_full_disk_is_no_reason_to_remove_the_account_and_a_damaged_file_is(tmp_path: Path) -> None:
    start = Moment(SESSIONS[0], "pre_open")
    State(tmp_path, "PA1", 500.0, start, "sample").close()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
    try:
        with pytest.raises(StateUnusable, match="see that its disk has room") as full:
            State(tmp_path, "PA1", 500.0, start, "sample")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "remove" not in str(full.value)
    State(tmp_path, "PA1", 500.0, start, "sample").close()
    for path in tmp_path.iterdir():
        path.write_bytes(b"no database at all" * 1000)
    with pytest.raises(StateUnusable, match="remove the folder to start afresh"):
        State(tmp_path, "PA1", 500.0, start, "sample")
