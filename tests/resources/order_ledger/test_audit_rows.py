"""The chain against the ledger's tables: a row that another hand changed, added or removed is named, whichever column it is."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kobe_jobs.trading.context import TradingContext, open_session
from kobe_jobs.trading.readiness.preflight import NotReady
from kobe_jobs.trading.session import trade_session
from kobe_resources.broker.exchange.embedded import EmbeddedBroker
from kobe_resources.order_ledger import OrderLedger, audit_chain, audit_rows, store
from kobe_resources.order_ledger.positions import age, open_positions
from tests.support.builders import small_market as market
from tests.support.builders.trading import order_plan


@pytest.fixture(scope="module")
def traded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the ledger and the audit copy of two traded sessions."""
    folder = tmp_path_factory.mktemp("traded")
    with market.start_broker(folder) as embedded, pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOBE_HOME", str(folder))
        settings = market.make_settings()
        adapter = market.speak_to(embedded.url, settings)
        rig = market.make_context(folder, adapter, settings)
        for day in (market.ENTRY_DAY, market.EXIT_DAY):
            embedded.advance_to(day, "open")
            trade_session(rig)
        rig.ledger.close()
        adapter.close()
    return folder


@pytest.fixture
def ledger(traded: Path, tmp_path: Path) -> Iterator[OrderLedger]:
    for name in ("orders.sqlite", "audit.jsonl"):
        shutil.copy(traded / name, tmp_path / name)
    with OrderLedger(tmp_path / "orders.sqlite") as ledger:
        yield ledger


def test_two_traded_sessions_hold(ledger: OrderLedger) -> None:
    assert ledger.verify_audit().problem == ""
    for table in audit_rows.KEYS:
        assert ledger.rows(f"SELECT count(*) FROM {table}")[0][0] > 0, table


def columns(ledger: OrderLedger, table: str) -> list[str]:
    return [row[1] for row in ledger.rows(f"PRAGMA table_info({table})")]


@pytest.mark.parametrize("table", audit_rows.KEYS)
def test_a_change_of_any_column_of_any_row_is_named(ledger: OrderLedger, table: str) -> None:
    raw = ledger.connection
    raw.execute("PRAGMA foreign_keys = OFF")
    raw.execute("PRAGMA ignore_check_constraints = ON")
    for rowid in [row[0] for row in ledger.rows(f"SELECT rowid FROM {table}")][:12]:
        for column in columns(ledger, table):
            raw.execute("SAVEPOINT tamper")
            raw.execute(f"UPDATE {table} SET {column} = coalesce({column}, '') || '7' WHERE rowid = ?", (rowid,))
            rows = ledger.rows("SELECT seq, body FROM audit ORDER BY seq")
            found = audit_rows.find_changed(raw, [tuple(row) for row in rows])
            raw.execute("ROLLBACK TO tamper")
            assert found is not None, (table, column)
            assert audit_rows.NAMES[table] in found[1]
            if column not in audit_rows.KEYS[table]:
                assert f"{column} is " in found[1]


@pytest.mark.parametrize("table", audit_rows.KEYS)
def test_a_row_that_was_removed_is_named(ledger: OrderLedger, table: str) -> None:
    ledger.connection.execute("PRAGMA foreign_keys = OFF")
    ledger.connection.execute(f"DELETE FROM {table} WHERE rowid = (SELECT max(rowid) FROM {table})")
    found = ledger.verify_audit()
    assert not found.holds
    assert audit_rows.NAMES[table] in found.problem
    assert "was removed by hand" in found.problem
    assert found.first_bad is not None


@pytest.mark.parametrize("table", audit_rows.KEYS)
def test_a_row_that_was_added_is_named(ledger: OrderLedger, table: str) -> None:
    key = audit_rows.KEYS[table][-1]
    changed = {"reconciliations": "999", "session_claims": "'2030-01-02'"}.get(table, "'kobe-of-another-hand'")
    values = ", ".join(changed if name == key else "0" if name == "is_open" else name for name in columns(ledger, table))
    ledger.connection.execute("PRAGMA foreign_keys = OFF")
    ledger.connection.execute(f"INSERT INTO {table} SELECT {values} FROM {table} LIMIT 1")
    found = ledger.verify_audit()
    assert "was added by hand" in found.problem
    assert changed.strip("'") in found.problem
    assert found.first_bad is None


def test_the_symbol_both_values_and_the_record_are_named(ledger: OrderLedger) -> None:
    held = ledger.rows("SELECT id, symbol, qty FROM positions WHERE is_open = 1")[0]
    ledger.connection.execute("UPDATE positions SET qty = '999' WHERE id = ?", (held["id"],))
    problem = ledger.verify_audit().problem
    assert held["id"] in problem
    assert f"({held['symbol']}) was changed by hand: qty is 999, the chain says {held['qty']} (record " in problem


def test_of_many_changed_rows_three_are_named_and_the_rest_counted(ledger: OrderLedger) -> None:
    count = ledger.rows("SELECT count(*) FROM intents")[0][0]
    ledger.connection.execute("UPDATE intents SET reserved = '12345'")
    assert f"; {count - 3} more rows" in ledger.verify_audit().problem


def test_nothing_is_traded_on_rows_that_were_changed(tmp_path: Path, rig: TradingContext) -> None:
    trade_session(rig)
    rig.ledger.connection.execute("UPDATE session_claims SET state = 'halted'")
    with pytest.raises(NotReady, match=r"session claim .* state is halted, the chain says done"):
        trade_session(rig)


def test_a_version_set_back_by_hand_does_not_launder_a_changed_row(ledger: OrderLedger) -> None:
    with contextlib.closing(sqlite3.connect(ledger.path, isolation_level=None)) as raw:
        raw.execute("UPDATE ledger_version SET version = 1")
        raw.execute("UPDATE positions SET qty = '999' WHERE is_open = 1")
    with OrderLedger(ledger.path) as again:
        assert "version was set back" in again.verify_audit().problem


def test_rows_of_an_older_kobe_are_taken_over_once_and_watched_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kobe_resources.order_ledger import orders as book

    path = tmp_path / "old.sqlite"
    with OrderLedger(path, disposable=True) as old, old.write() as write:
        book.plan(write, order_plan())
        write.execute("UPDATE ledger_version SET version = 1")
    for _ in range(2):
        with OrderLedger(path) as ledger:
            assert ledger.verify_audit().holds
            assert [row["kind"] for row in ledger.rows("SELECT kind FROM audit ORDER BY seq")] == ["planned", "rows_taken_over"]
    with OrderLedger(path) as ledger:
        ledger.connection.execute("UPDATE intents SET limit_price = '1.00'")
        assert "limit_price is 1.00, the chain says 60.00" in ledger.verify_audit().problem


def test_a_transaction_that_tells_nothing_else_tells_its_rows(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    trade_session(rig)
    context = open_session(rig, "rsi2")
    held = open_positions(rig.ledger, context.account)[0]
    with rig.ledger.write() as write:
        age(write, held, 2, market.SESSIONS[-1], None)
    assert rig.ledger.rows("SELECT kind FROM audit ORDER BY seq DESC LIMIT 1")[0]["kind"] == "rows_changed"
    with rig.ledger.write() as write:
        age(write, held, 2, market.SESSIONS[-1], None)
    assert rig.ledger.rows("SELECT count(*) FROM audit WHERE kind = 'rows_changed'")[0][0] == 1, "nothing changed"
    assert rig.ledger.verify_audit().holds


def test_a_transaction_that_failed_leaves_nothing_to_the_next(ledger: OrderLedger) -> None:
    def fail() -> None:
        with ledger.write() as write:
            write.execute("UPDATE positions SET flag = 'x'")
            write.execute("UPDATE positions SET side = 'neither'")

    with pytest.raises(sqlite3.IntegrityError):
        fail()
    with ledger.write() as write:
        write.audit("note")
    assert "rows" not in ledger.rows("SELECT body FROM audit ORDER BY seq DESC LIMIT 1")[0]["body"]
    assert ledger.verify_audit().holds


def test_ten_thousand_records_of_orders_verify_well_under_two_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kobe_resources.order_ledger import orders as book

    # The event log, which repeats each of them, takes ten times as long as the chain.
    monkeypatch.setattr(OrderLedger, "_log", lambda self, write: None)

    with OrderLedger(tmp_path / "orders.sqlite") as ledger:
        ledger.connection.execute("PRAGMA synchronous = OFF")
        for batch in range(20):
            with ledger.write() as write:
                for number in range(50):
                    book.claim(write, book.plan(write, order_plan(f"S{batch}-{number}")).client_order_id, "me")
        with ledger.write() as write:
            for number in range(8_000):
                write.audit("looked", order=f"order-{number}")
        ledger.copy_audit()
        took = []
        for _ in range(3):
            started = time.process_time()
            found = ledger.verify_audit()
            took.append(time.process_time() - started)
        assert found.holds
        assert found.records == 10_000
    assert min(took) < 1.0


def test_the_hash_of_a_record_is_made_as_before() -> None:
    assert audit_chain._digest(1, "t", audit_chain.GENESIS, "ab", "kind", "{}") == (
        "42fc4ce18af74d2913669133eee8a97d757f774e87b2928cc32465e4d7833232"
    )
    assert store.VERSION == audit_rows.SINCE_VERSION
