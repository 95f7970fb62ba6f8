"""The audit trail: whatever is done to the chain or its copy is found, and the first bad record is named."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from kobe_resources.errors import UsageError
from kobe_resources.order_ledger import LedgerUnusable, OrderLedger, audit_chain
from tests.support.drivers.ledger_child import all_at_once, append_and_copy

RECORDS = 20


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[OrderLedger]:
    with OrderLedger(tmp_path / "orders.sqlite", pin="ab12", run_id="run-1") as ledger:
        write_records(ledger, RECORDS)
        ledger.copy_audit()
        yield ledger


def write_records(ledger: OrderLedger, count: int) -> None:
    with ledger.write() as write:
        for number in range(count):
            write.audit("filled", order=f"order-{number}", price="12.50")


def write_many(ledger: OrderLedger, count: int) -> None:
    """The same records in one go: what each of them costs to write is not what is measured."""
    at, previous, rows = "2024-03-06T15:00:00.000000+00:00", audit_chain.GENESIS, []
    for seq in range(1, count + 1):
        body = f'{{"order":"order-{seq - 1}","price":"12.50","run":"run-1"}}'
        digest = audit_chain._digest(seq, at, previous, "ab12", "filled", body)
        rows.append((seq, at, previous, "ab12", "filled", body, digest))
        previous = digest
    with ledger.write() as write:
        write.connection.executemany("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        write.execute("UPDATE audit_head SET seq = ?, hash = ?", (count, previous))


def test_an_untouched_chain_and_its_copy_hold(ledger: OrderLedger) -> None:
    found = ledger.verify_audit()
    assert found.holds
    assert (found.records, found.not_copied) == (RECORDS, 0)
    assert found.head == ledger.audit_head()


def test_the_copy_is_json_lines_of_every_record(ledger: OrderLedger) -> None:
    lines = [orjson.loads(line) for line in ledger.audit_path.read_bytes().splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, RECORDS + 1))
    assert lines[4]["body"] == {"order": "order-4", "price": "12.50", "run": "run-1"}
    assert [line["prev"] for line in lines[1:]] == [line["hash"] for line in lines[:-1]]
    assert {line["pin"] for line in lines} == {"ab12"}


def rehash(connection: sqlite3.Connection, start: int) -> None:
    """Forge: recompute every hash from record `start` on, and the head with them."""
    previous = (
        audit_chain.GENESIS
        if start == 1
        else connection.execute("SELECT hash FROM audit WHERE seq = ?", (start - 1,)).fetchone()[0]
    )
    for row in connection.execute("SELECT * FROM audit WHERE seq >= ? ORDER BY seq", (start,)).fetchall():
        seq, at, _, pin, kind, body, _ = row
        digest = audit_chain._digest(seq, at, previous, pin, kind, body)
        connection.execute("UPDATE audit SET prev = ?, hash = ? WHERE seq = ?", (previous, digest, seq))
        previous = digest
    connection.execute("UPDATE audit_head SET hash = ?", (previous,))


def forge(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE audit SET body = replace(body, '12.50', '11.00') WHERE seq = 7")
    rehash(connection, 7)


def swap(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE audit SET seq = -7 WHERE seq = 7")
    connection.execute("UPDATE audit SET seq = 7 WHERE seq = 8")
    connection.execute("UPDATE audit SET seq = 8 WHERE seq = -7")


LEDGER_TAMPERS: dict[str, Callable[[sqlite3.Connection], object]] = {
    "flip": lambda c: c.execute("UPDATE audit SET body = replace(body, '12.50', '12.51') WHERE seq = 7"),
    "flip of a time": lambda c: c.execute("UPDATE audit SET time = '2001' || substr(time, 5) WHERE seq = 7"),
    "flip of a pin": lambda c: c.execute("UPDATE audit SET pin = 'ff' WHERE seq = 7"),
    "deletion": lambda c: c.execute("DELETE FROM audit WHERE seq = 7"),
    "swap": swap,
    "one hash forged": lambda c: c.execute("UPDATE audit SET hash = ? WHERE seq = 7", ("f" * 64,)),
    "chain forged to the end": forge,
}


@pytest.mark.parametrize("name", LEDGER_TAMPERS)
def test_a_change_in_the_ledger_is_found_and_named(ledger: OrderLedger, name: str) -> None:
    LEDGER_TAMPERS[name](ledger.connection)
    found = ledger.verify_audit()
    assert not found.holds
    assert found.first_bad == 7, found.problem


def test_records_cut_off_the_end_of_the_ledger_are_found_by_the_head(ledger: OrderLedger) -> None:
    ledger.connection.execute("DELETE FROM audit WHERE seq > 15")
    found = ledger.verify_audit()
    assert found.first_bad == 16
    assert "cut off" in found.problem


def test_a_record_added_behind_the_head_is_found(ledger: OrderLedger) -> None:
    ledger.connection.execute("INSERT INTO audit SELECT 21, time, hash, pin, kind, body, hash FROM audit WHERE seq = 20")
    assert ledger.verify_audit().first_bad == 21


def made_anew(connection: sqlite3.Connection, seq: int) -> None:
    """Forge one record and its own hash, and none of those after it."""
    connection.execute("UPDATE audit SET body = replace(body, '12.50', '11.00') WHERE seq = ?", (seq,))
    _, at, previous, pin, kind, body, _ = connection.execute("SELECT * FROM audit WHERE seq = ?", (seq,)).fetchone()
    digest = audit_chain._digest(seq, at, previous, pin, kind, body)
    connection.execute("UPDATE audit SET hash = ? WHERE seq = ?", (digest, seq))


def added(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO audit SELECT 21, time, hash, pin, kind, body, hash FROM audit WHERE seq = 20")
    made_anew(connection, 21)


CHAIN_TAMPERS: dict[str, tuple[int, Callable[[sqlite3.Connection], object]]] = {
    "a record in the middle": (8, lambda c: made_anew(c, 7)),
    "the last record": (20, lambda c: made_anew(c, 20)),
    "a time": (7, LEDGER_TAMPERS["flip of a time"]),
    "a pin": (7, LEDGER_TAMPERS["flip of a pin"]),
    "a deletion": (7, LEDGER_TAMPERS["deletion"]),
    "an addition": (21, added),
}


@pytest.mark.parametrize("name", CHAIN_TAMPERS)
def test_the_chain_alone_finds_a_forgery_whose_copy_was_made_anew(ledger: OrderLedger, name: str) -> None:
    bad, tamper = CHAIN_TAMPERS[name]
    tamper(ledger.connection)
    ledger.audit_path.unlink()
    ledger.connection.execute("UPDATE audit_head SET copied = 0")
    ledger.copy_audit()
    found = ledger.verify_audit()
    assert found.first_bad == bad, found.problem


def test_of_two_bad_records_the_earlier_is_named(ledger: OrderLedger) -> None:
    LEDGER_TAMPERS["flip"](ledger.connection)
    lines = lines_of(ledger.audit_path)
    ledger.audit_path.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    assert ledger.verify_audit().first_bad == 3


@pytest.mark.parametrize("seq", [0, 1, 7, RECORDS])
def test_an_anchor_of_the_chain_as_it_is_holds(ledger: OrderLedger, seq: int) -> None:
    digest = ledger.rows("SELECT hash FROM audit WHERE seq = ?", (seq,))[0][0] if seq else audit_chain.GENESIS
    assert ledger.verify_audit(f"{seq}:{digest}").holds
    assert audit_chain.is_head(f"{seq}:{digest}") == (seq > 0), "a chain without records has no end to keep"


def test_a_head_that_the_chain_does_not_hold_is_named_with_why(ledger: OrderLedger) -> None:
    head = ledger.audit_head()
    assert audit_chain.missing_head(ledger.connection, head) == ""
    assert "another one" in audit_chain.missing_head(ledger.connection, f"20:{'f' * 64}")
    ledger.connection.execute("DELETE FROM audit WHERE seq > 15")
    assert "ends at record 15" in audit_chain.missing_head(ledger.connection, head)


@pytest.mark.parametrize(("kind", "pin"), [("Filled", ""), ("filled\n1", ""), ("filled", "xyz"), ("filled", "ab\n12")])
def test_what_could_run_into_its_neighbour_in_a_hash_is_no_kind_and_no_pin(ledger: OrderLedger, kind: str, pin: str) -> None:
    with pytest.raises(ValueError, match="no audit kind or pin"):
        audit_chain.append(ledger.connection, kind, {}, pin)
    assert ledger.verify_audit().records == RECORDS


def test_an_anchor_kept_elsewhere_finds_a_chain_rebuilt_together_with_its_copy(ledger: OrderLedger) -> None:
    anchor = ledger.audit_head()
    forge(ledger.connection)
    ledger.audit_path.unlink()
    ledger.connection.execute("UPDATE audit_head SET copied = 0")
    ledger.copy_audit()
    assert ledger.verify_audit().holds, "without an anchor nothing can tell"
    found = ledger.verify_audit(anchor)
    assert (found.first_bad, "rebuilt" in found.problem) == (20, True)


@pytest.mark.parametrize("anchor", ["", "xyz", "3:aaaa", "-1:" + "0" * 64, "3:" + "g" * 64])
def test_an_anchor_with_a_slip_of_the_pen_is_no_alarm(ledger: OrderLedger, anchor: str) -> None:
    with pytest.raises(UsageError, match="no head of a chain"):
        ledger.verify_audit(anchor)


def test_an_anchor_finds_a_chain_that_was_cut_with_head_and_copy(ledger: OrderLedger) -> None:
    anchor = ledger.audit_head()
    connection = ledger.connection
    connection.execute("DELETE FROM audit WHERE seq > 15")
    connection.execute("UPDATE audit_head SET copied = 15, seq = 15, hash = (SELECT hash FROM audit WHERE seq = 15)")
    lines = ledger.audit_path.read_bytes().splitlines(keepends=True)
    ledger.audit_path.write_bytes(b"".join(lines[:15]))
    assert ledger.verify_audit().holds
    assert ledger.verify_audit(anchor).first_bad == 16


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


COPY_TAMPERS: dict[str, tuple[int, Callable[[list[bytes]], list[bytes]]]] = {
    "flip": (7, lambda lines: [*lines[:6], lines[6].replace(b"12.50", b"12.51"), *lines[7:]]),
    "deletion": (7, lambda lines: [*lines[:6], *lines[7:]]),
    "swap": (7, lambda lines: [*lines[:6], lines[7], lines[6], *lines[8:]]),
    "an added line": (8, lambda lines: [*lines[:7], lines[6], *lines[7:]]),
    "a line behind the end": (21, lambda lines: [*lines, lines[-1]]),
    "torn tail": (20, lambda lines: [*lines[:-1], lines[-1][:-9]]),
    "a lost newline": (20, lambda lines: [*lines[:-1], lines[-1][:-1]]),
    "truncation": (16, lambda lines: lines[:15]),
    "emptied": (1, lambda lines: []),
}


@pytest.mark.parametrize("name", COPY_TAMPERS)
def test_a_change_in_the_copy_is_found_and_named(ledger: OrderLedger, name: str) -> None:
    bad, tamper = COPY_TAMPERS[name]
    ledger.audit_path.write_bytes(b"".join(tamper(lines_of(ledger.audit_path))))
    found = ledger.verify_audit()
    assert not found.holds
    assert found.first_bad == bad, found.problem
    assert ("is torn" in found.problem) == (name in ("torn tail", "a lost newline"))


def test_records_not_copied_yet_are_no_tampering(ledger: OrderLedger) -> None:
    write_records(ledger, 3)
    found = ledger.verify_audit()
    assert found.holds
    assert found.not_copied == 3


@pytest.mark.parametrize("cut", [1, 30, 200])
@pytest.mark.parametrize("zeros", [0, 4096])
def test_a_tail_torn_by_a_crash_is_completed(ledger: OrderLedger, cut: int, zeros: int) -> None:
    """A power cut may leave zeros where data had not reached the disk."""
    whole = ledger.audit_path.read_bytes()
    write_records(ledger, 2)
    lines = b"".join(audit_chain._line(tuple(row)) for row in ledger.rows("SELECT * FROM audit WHERE seq > 20"))
    ledger.audit_path.write_bytes(whole + lines[:cut] + b"\0" * zeros)
    assert ledger.verify_audit().holds == (not zeros)
    ledger.copy_audit()
    assert ledger.audit_path.read_bytes() == whole + lines
    assert ledger.verify_audit().not_copied == 0


def test_a_missing_tail_is_copied_again_and_the_chain_remembers(ledger: OrderLedger) -> None:
    ledger.audit_path.write_bytes(b"".join(lines_of(ledger.audit_path)[:15]))
    ledger.copy_audit()
    assert ledger.verify_audit().holds
    kind, body = ledger.rows("SELECT kind, body FROM audit ORDER BY seq DESC LIMIT 1")[0]
    assert (kind, orjson.loads(body)) == ("copy_restored", {"kept_through": 15, "copied_again": 5})


def lose_and_copy(ledger: OrderLedger, times: int) -> None:
    for _ in range(times):
        ledger.audit_path.write_bytes(b"".join(lines_of(ledger.audit_path)[:15]))
        ledger.copy_audit()


def test_a_full_disk_while_a_loss_is_noted_is_said_in_plain_words_and_nothing_is_lost(ledger: OrderLedger) -> None:
    pages = ledger.rows("PRAGMA page_count")[0][0]
    ledger.connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LedgerUnusable, match="disk is full"):
        lose_and_copy(ledger, 1_000)
    ledger.connection.execute(f"PRAGMA max_page_count = {pages + 1_000}")
    ledger.copy_audit()
    assert ledger.verify_audit().holds


def test_an_interrupt_while_a_loss_is_noted_leaves_no_transaction_open(
    ledger: OrderLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(audit_chain, "canonical_json", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lose_and_copy(ledger, 1)
    ledger.copy_audit()
    assert ledger.verify_audit().holds


@pytest.mark.parametrize(
    ("tail", "more"),
    [
        (b'{"seq":21,"time":"1999', 1),
        (b'{"seq":21,"time":"', 0),
        (b'{"seq":99,"time":"2024"}\n', 1),
        (b'{"seq":20,"time":"2024"}\n', 1),
        (b"garbage\n", 1),
    ],
)
def test_a_tail_that_differs_is_an_alarm(ledger: OrderLedger, tail: bytes, more: int) -> None:
    before = ledger.audit_path.read_bytes() + tail
    ledger.audit_path.write_bytes(before)
    write_records(ledger, more)
    with pytest.raises(audit_chain.AuditDiffers):
        ledger.copy_audit()
    assert ledger.audit_path.read_bytes() == before, "evidence is not overwritten"


def test_five_processes_append_and_copy_at_once(tmp_path: Path) -> None:
    path = tmp_path / "orders.sqlite"
    assert all_at_once(append_and_copy, path) == [0] * 5
    with OrderLedger(path) as ledger:
        found = ledger.verify_audit()
        assert found.holds, found.problem
        assert (found.records, found.not_copied) == (150, 0)


def test_a_hundred_thousand_records_verify_in_under_two_seconds(tmp_path: Path) -> None:
    with OrderLedger(tmp_path / "orders.sqlite", disposable=True) as ledger:
        write_many(ledger, 100_000)
        ledger.copy_audit()
        took = []
        for _ in range(3):
            started = time.process_time()
            found = ledger.verify_audit()
            assert (found.holds, found.records, found.not_copied) == (True, 100_000, 0)
            took.append(time.process_time() - started)
    assert min(took) < 2.0
