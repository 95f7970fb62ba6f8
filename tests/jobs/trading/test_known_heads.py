"""A ledger set back together with its copy: Dagster's history and the newest backup know better; a person's word goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from kobe_jobs.ops.backup.make import make_backup
from kobe_jobs.ops.health.checks import ask_audit
from kobe_jobs.trading.context import TradingContext
from kobe_jobs.trading.known_heads import find_rollback
from kobe_jobs.trading.readiness.preflight import NotReady, preflight
from kobe_jobs.trading.session import trade_session
from kobe_resources.order_ledger import OrderLedger
from kobe_resources.runtime.dagster_instance import open_instance
from kobe_resources.settings.secrets import Secrets
from tests.support.builders import small_market as market
from tests.support.drivers.command import invoked


@pytest.fixture
def ledger(home: Path) -> Iterator[OrderLedger]:
    home.mkdir(parents=True)
    with OrderLedger(home / "orders.sqlite") as ledger:
        tell(ledger, 3)
        yield ledger


def tell(ledger: OrderLedger, count: int) -> None:
    for number in range(count):
        with ledger.write() as write:
            write.audit("note", number=number)
    ledger.copy_audit()


def set_back(ledger: OrderLedger, to: int) -> None:
    """As a copy of both files from then would be, before anything was decided."""
    for table in ("fills", "positions", "intents", "session_claims", "reconciliations"):
        ledger.connection.execute(f"DELETE FROM {table}")
    ledger.connection.execute("DELETE FROM audit WHERE seq > ?", (to,))
    ledger.connection.execute(
        "UPDATE audit_head SET seq = ?1, copied = ?1, hash = (SELECT hash FROM audit WHERE seq = ?1)", (to,)
    )
    lines = ledger.audit_path.read_bytes().splitlines(keepends=True)
    ledger.audit_path.write_bytes(b"".join(lines[:to]))
    assert ledger.verify_audit().holds, "the two agree with each other"


def show(head: str, asset: str = "orders") -> None:
    with open_instance() as instance:
        kind = dg.AssetMaterialization if asset == "orders" else dg.AssetObservation
        instance.report_runless_asset_event(kind(asset, metadata={"audit head": head}))


def test_a_chain_that_went_on_is_no_rollback(ledger: OrderLedger, home: Path) -> None:
    show(ledger.audit_head())
    make_backup(home)
    tell(ledger, 2)
    assert find_rollback(ledger) == ""
    assert ask_audit().ok


@pytest.mark.parametrize("asset", ["orders", "positions"])
def test_dagster_s_history_knows_what_was_cut_off(ledger: OrderLedger, asset: str) -> None:
    show(ledger.audit_head(), asset)
    set_back(ledger, 1)
    text = find_rollback(ledger)
    assert "the chain ends at record 1, record 3 is missing" in text
    assert "Dagster's history" in text
    tell(ledger, 4)
    show(ledger.audit_head(), asset)
    assert "record 3 is another one" in find_rollback(ledger), "what came after proves nothing"


def test_the_newest_backup_knows_what_was_cut_off(ledger: OrderLedger, home: Path) -> None:
    make_backup(home)
    tell(ledger, 2)
    newest = make_backup(home).path
    shutil.copy(make_backup(home, newest.with_name("an-old-one.tar.gz")).path, newest.with_name("kobe-of-my-own.tar.gz"))
    set_back(ledger, 4)
    assert newest.name in find_rollback(ledger)
    shutil.rmtree(newest.parent)
    assert find_rollback(ledger) == ""


def test_an_older_backup_of_a_ledger_that_was_taken_away_is_noticed(ledger: OrderLedger, home: Path) -> None:
    make_backup(home)
    ledger.close()
    for file in (*home.glob("orders.sqlite*"), *home.glob("audit.jsonl*")):
        file.unlink()
    with OrderLedger(home / "orders.sqlite") as anew:
        assert "the chain ends at record 0, record 3 is missing" in find_rollback(anew)


def test_health_and_audit_verify_say_so_and_the_way_out_in_one_line(ledger: OrderLedger, home: Path) -> None:
    make_backup(home)
    set_back(ledger, 1)
    answer = ask_audit()
    assert not answer.ok
    assert 'after a restore on purpose: `kobe audit accept "why"`' in answer.seen
    assert "\n" not in answer.seen
    refused = invoked("audit", "verify")
    assert refused.exit_code == 1
    assert "set back together" in str(refused.exception)


def test_a_restore_on_purpose_is_accepted_once_and_stays_on_the_chain(ledger: OrderLedger, home: Path) -> None:
    head = ledger.audit_head()
    show(head)
    make_backup(home)
    set_back(ledger, 1)
    accepted = invoked("audit", "accept", "restored last night's backup")
    assert accepted.exit_code == 0, accepted.output
    assert head in accepted.stdout
    assert find_rollback(ledger) == ""
    assert "restored last night's backup" in ledger.rows("SELECT body FROM audit ORDER BY seq DESC LIMIT 1")[0]["body"]
    tell(ledger, 5)
    assert ask_audit().ok
    assert "nothing to accept" in invoked("audit", "accept", "again").stdout
    make_backup(home)
    set_back(ledger, 2)
    assert find_rollback(ledger), "the next one is told anew"


def test_a_rollback_is_not_accepted_without_a_reason(ledger: OrderLedger) -> None:
    assert invoked("audit", "accept", " ").exit_code != 0
    assert "accept" not in ledger.rows("SELECT kind FROM audit ORDER BY seq DESC LIMIT 1")[0]["kind"]


def test_a_history_or_a_backup_that_cannot_be_read_tells_nothing(ledger: OrderLedger, home: Path) -> None:
    show(ledger.audit_head())
    for file in (home / "dagster" / "history").rglob("*.db"):
        file.write_bytes(b"no database" * 1000)
    folder = home.with_name(f"{home.name}-backups")
    folder.mkdir()
    (folder / "kobe-20990101T000000000000Z.tar.gz").write_bytes(b"no archive")
    set_back(ledger, 1)
    assert find_rollback(ledger) == ""


def test_nothing_is_traded_on_a_ledger_that_was_set_back(rig: TradingContext, tmp_path: Path) -> None:
    trade_session(rig)
    backup = make_backup(tmp_path).path
    try:
        set_back(rig.ledger, 1)
        line = next(line for line in preflight(rig, Secrets()) if line.name == "audit chain")
        assert "set back together" in line.seen
        assert "kobe audit accept" in line.hint
        with pytest.raises(NotReady, match="set back together"):
            trade_session(rig, market.ENTRY_DAY)
    finally:
        backup.unlink()
