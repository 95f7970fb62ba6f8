"""The audit trail: a hash chain in the order ledger, written in the ledger's own transaction, and copied to audit.jsonl.

The ledger is the truth, its row `audit_head` anchors the end; the copy is append-only and crash-safe. Nothing read back
is trusted: `verify` recomputes every hash, compares the copy byte by byte, replays the chain against the ledger's tables, and
names the first record or row that is wrong.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kobe_resources.errors import KobeError, UsageError
from kobe_resources.order_ledger import audit_rows
from kobe_resources.runtime.atomic_files import private_file, private_folder, sync_folder
from kobe_resources.runtime.locks import exclusive
from kobe_resources.settings.pins import canonical_json

GENESIS = "0" * 64
_KIND = re.compile(r"[a-z][a-z0-9_]*")
_PIN = re.compile(r"[0-9a-f]*")
_ANCHOR = re.compile(r"[0-9]{1,18}:[0-9a-f]{64}")
LOCK_WAIT_S = 30.0
BATCH = 5000
RESTORED = "copy_restored"

Record = tuple[int, str, str, str, str, str, str]


class AuditDiffers(KobeError):
    """audit.jsonl and the ledger differ, because one of them was changed by hand or by a failing disk."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found: `problem` is empty where all is well, else it names `first_bad` (a seq).

    first_bad is None for a row of the tables that no record wrote. restored: the records that say that a cut audit.jsonl was
    completed from the ledger.
    """

    records: int
    head: str
    first_bad: int | None = None
    problem: str = ""
    not_copied: int = 0
    restored: tuple[int, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong with the chain, the tables or the copy."""
        return not self.problem

    @property
    def description(self) -> str:
        """The problem, or how many records hold and whether the copy had to be completed."""
        if self.problem:
            return self.problem
        again = ", ".join(str(seq) for seq in self.restored)
        return f"{self.records:,} records hold" + (
            f"; audit.jsonl was cut and completed again: record {again}" if again else ""
        )


def append(connection: sqlite3.Connection, kind: str, body: Mapping[str, Any], pin: str) -> int:
    """Add a record inside the caller's open write transaction; its seq.

    body: JSON-able without NaN (Decimals and dates become text); pin: hex. No secret may be in it.
    """
    if not _KIND.fullmatch(kind) or not _PIN.fullmatch(pin):
        raise ValueError(f"no audit kind or pin: {kind!r}, {pin!r}")
    seq, prev = connection.execute("SELECT seq + 1, hash FROM audit_head").fetchone()
    time = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds")
    text = canonical_json(body)
    digest = _digest(seq, time, prev, pin, kind, text)
    connection.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?)", (seq, time, prev, pin, kind, text, digest))
    connection.execute("UPDATE audit_head SET seq = ?, hash = ?", (seq, digest))
    return int(seq)


def head(connection: sqlite3.Connection) -> str:
    """The end of the chain as 'seq:hash', to be kept elsewhere (a run's metadata) as an anchor."""
    seq, digest = connection.execute("SELECT seq, hash FROM audit_head").fetchone()
    return f"{seq}:{digest}"


def is_head(text: str) -> bool:
    """Whether this is a head as `head` writes it, of a chain that has records."""
    return bool(_ANCHOR.fullmatch(text)) and not text.startswith("0:")


def missing_head(connection: sqlite3.Connection, anchor: str) -> str:
    """Why the chain does not hold the record that `anchor` ('seq:hash') names; empty where it does."""
    seq_text, _, digest = anchor.partition(":")
    found = _record(connection, int(seq_text))
    if found is None:
        last = connection.execute("SELECT coalesce(max(seq), 0) FROM audit").fetchone()[0]
        return f"the chain ends at record {last}, record {seq_text} is missing"
    return "" if found[6] == digest else f"record {seq_text} is another one"


@dataclass(frozen=True, slots=True)
class Copied:
    """What `copy_out` did. lost: records that had been in the file before, were cut off, and are in it again."""

    appended: int
    lost: int = 0


def copy_out(connection: sqlite3.Connection, path: Path) -> Copied:
    """Append to `path` what it lacks of the chain and put it on disk.

    A torn or missing tail is completed, from the ledger. Raises AuditDiffers where the file says anything else.
    """
    with lock_of(path):
        private_file(path)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            seq, size, torn = _end_of_copy(descriptor)
            _check_end(connection, path, descriptor, seq, size, torn)
            lost = _lost_records(connection, seq)
            if lost:
                _note_loss(connection, seq, lost)
            if torn:
                os.ftruncate(descriptor, size)
            os.lseek(descriptor, size, os.SEEK_SET)
            appended, last = 0, seq
            for batch in _batches(connection, seq):
                _write_all(descriptor, b"".join(_line(record) for record in batch))
                appended += len(batch)
                last = batch[-1][0]
            if appended or torn:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if appended:
            sync_folder(path.parent)
            connection.execute("UPDATE audit_head SET copied = ? WHERE copied < ?", (last, last))
        return Copied(appended, lost)


def verify(connection: sqlite3.Connection, path: Path, anchor: str | None = None) -> Verification:
    """Check the chain, its head, the tables it records, its copy at `path`, and an `anchor` 'seq:hash' kept elsewhere.

    Changes nothing. Raises UsageError where the anchor is none.
    """
    if anchor is not None and not _ANCHOR.fullmatch(anchor):
        raise UsageError(f"{anchor!r} is no head of a chain", "write it as `kobe audit head` prints it, seq:hash")
    with lock_of(path):
        connection.execute("BEGIN")
        try:
            head_seq, head_hash, copied = connection.execute("SELECT seq, hash, copied FROM audit_head").fetchone()
            records: list[Record] = connection.execute("SELECT * FROM audit ORDER BY seq").fetchall()
            broken = _first_broken(records) or _head_problem(records, head_seq, head_hash)
            # A chain that does not hold says nothing about the tables.
            changed = None if broken else audit_rows.find_changed(connection, ((row[0], row[5]) for row in records))
        finally:
            connection.execute("COMMIT")
        data = path.read_bytes() if path.exists() else b""
    found = [
        problem
        for problem in (
            broken,
            _anchor_problem(records, anchor),
            _copy_problem(records, data, copied),
        )
        if problem
    ]
    lines = data.count(b"\n")
    # The earliest record is named; of two problems with one record, the one found first above.
    bad, problem = min(found, key=lambda item: item[0]) if found else changed or (None, "")
    restored = tuple(row[0] for row in records if row[4] == RESTORED)
    return Verification(len(records), f"{head_seq}:{head_hash}", bad, problem, max(0, len(records) - lines), restored)


def _digest(seq: int, time: str, prev: str, pin: str, kind: str, body: str) -> str:
    # Only `body`, the last part, is free text, so the parts cannot run into each other.
    return hashlib.sha256(f"{prev}\n{seq}\n{time}\n{pin}\n{kind}\n{body}".encode()).hexdigest()


def _line(record: Record) -> bytes:
    seq, time, prev, pin, kind, body, digest = record
    return (
        f'{{"seq":{seq},"time":"{time}","prev":"{prev}","pin":"{pin}","kind":"{kind}","body":{body},"hash":"{digest}"}}\n'
    ).encode()


def _first_broken(records: list[Record]) -> tuple[int, str] | None:
    expected, previous = 1, GENESIS
    for seq, time, prev, pin, kind, body, digest in records:
        if seq != expected:
            return expected, f"record {expected} is missing from the ledger"
        if prev != previous:
            return seq, f"record {seq} does not follow from the record before it"
        if _digest(seq, time, prev, pin, kind, body) != digest:
            return seq, f"record {seq} was changed after it was written"
        expected, previous = seq + 1, digest
    return None


def _head_problem(records: list[Record], head_seq: int, head_hash: str) -> tuple[int, str] | None:
    last_seq, last_hash = (records[-1][0], records[-1][6]) if records else (0, GENESIS)
    if last_seq < head_seq:
        return last_seq + 1, f"the ledger's chain ends at record {last_seq}, its head is {head_seq}: records were cut off"
    if last_seq > head_seq:
        return head_seq + 1, f"record {head_seq + 1} was added behind the head of the chain"
    if last_hash != head_hash:
        return last_seq, f"record {last_seq} is not the one that the head of the chain names"
    return None


def _anchor_problem(records: list[Record], anchor: str | None) -> tuple[int, str] | None:
    if anchor is None:
        return None
    seq_text, _, digest = anchor.partition(":")
    seq = int(seq_text)
    if seq == 0:
        return None
    if seq > len(records):
        return len(records) + 1, f"the anchor names record {seq}, the chain ends at {len(records)}: records were cut off"
    if records[seq - 1][6] != digest:
        return seq, f"record {seq} is not the one that was anchored: the chain was rebuilt"
    return None


def _copy_problem(records: list[Record], data: bytes, copied: int) -> tuple[int, str] | None:
    place = 0
    for index, record in enumerate(records):
        line = _line(record)
        end = place + len(line)
        if data[place:end] != line:
            rest = data[place:]
            if index >= copied and line.startswith(rest):
                return None
            if not rest:
                return index + 1, f"audit.jsonl ends before record {index + 1}, which had been copied: it was cut off"
            torn = b"\n" not in rest
            return index + 1, f"audit.jsonl {'is torn at' if torn else 'differs from the ledger at'} record {index + 1}"
        place = end
    if len(data) > place:
        return len(records) + 1, f"audit.jsonl goes on behind record {len(records)}, the last of the ledger"
    return None


def _end_of_copy(descriptor: int) -> tuple[int, int, bytes]:
    """(seq of the last whole line or 0, offset behind it, bytes of a torn line behind that)."""
    size = os.fstat(descriptor).st_size
    tail, start = b"", size
    while start and tail.count(b"\n") < 2:
        step = min(65536, start)
        start -= step
        tail = os.pread(descriptor, step, start) + tail
    whole, newline, torn = tail.rpartition(b"\n")
    if not newline:
        return 0, 0, tail
    return _seq_of(whole.rpartition(b"\n")[2]), size - len(torn), torn


def _seq_of(line: bytes) -> int:
    found = re.match(rb'\{"seq":(\d{1,18}),', line)
    return int(found[1]) if found else -1


def _check_end(connection: sqlite3.Connection, path: Path, descriptor: int, seq: int, size: int, torn: bytes) -> None:
    hint = "run `kobe audit verify`, keep both files as evidence, and do not trade until it is explained"
    if seq:
        record = _record(connection, seq)
        line = _line(record) if record else b""
        if not record or size < len(line) or os.pread(descriptor, len(line), size - len(line)) != line:
            raise AuditDiffers(f"{path} ends with a record that the ledger does not hold", hint)
    if torn:
        following = _record(connection, seq + 1)
        # A power cut may leave zeros where data had not reached the disk.
        if not following or not _line(following).startswith(torn.rstrip(b"\0")):
            raise AuditDiffers(f"{path} has a torn last line that is no part of record {seq + 1}", hint)


def _lost_records(connection: sqlite3.Connection, seq: int) -> int:
    return max(0, int(connection.execute("SELECT copied FROM audit_head").fetchone()[0]) - seq)


def _note_loss(connection: sqlite3.Connection, seq: int, lost: int) -> None:
    """Put on the chain which records were cut off the copy and are copied again."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        append(connection, RESTORED, {"kept_through": seq, "copied_again": lost}, "")
        connection.execute("COMMIT")
    except BaseException:
        # A full or failing disk has ended the transaction already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _record(connection: sqlite3.Connection, seq: int) -> Record | None:
    found: Record | None = connection.execute("SELECT * FROM audit WHERE seq = ?", (seq,)).fetchone()
    return found


def _batches(connection: sqlite3.Connection, after: int) -> Iterator[list[Record]]:
    while True:
        batch: list[Record] = connection.execute(
            "SELECT * FROM audit WHERE seq > ? ORDER BY seq LIMIT ?", (after, BATCH)
        ).fetchall()
        if not batch:
            return
        yield batch
        after = batch[-1][0]


def lock_of(path: Path) -> AbstractContextManager[None]:
    """The lock of the copy at `path`, as a block: within it nobody writes the copy. Raises KobeError after LOCK_WAIT_S."""
    lock = path.with_name(f"{path.name}.lock")
    private_folder(path.parent)
    private_file(lock)
    refusal = KobeError(f"{path} is held by another process for more than {LOCK_WAIT_S:g} s", "wait for it, or stop it")
    return exclusive(lock, refusal, LOCK_WAIT_S)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
