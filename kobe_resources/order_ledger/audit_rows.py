"""What every record of the audit chain changed in the ledger's tables, and the tables checked against all of it.

A transaction's last record carries under `rows` the columns that it changed: {table: {key: {column: value}}}. Replayed from
the first record on they give each row as Kobe wrote it, so a row that another hand changed, added or removed is named.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

KEYS = {
    "intents": ("client_order_id",),
    "fills": ("client_order_id", "cum_qty"),
    "positions": ("id",),
    "session_claims": ("account", "session"),
    "reconciliations": ("id",),
}
"""The tables that are checked, with the columns that name a row."""
NAMES = {
    "intents": "order", "fills": "fill", "positions": "position", "session_claims": "session claim",
    "reconciliations": "reconciliation",
}  # fmt: skip
SINCE_VERSION = 2
"""The ledger version from which on every change is in the chain."""
NEW, GONE = "*", "-"
"""Columns that no table has: the row begins here, the row ends here."""
LONGEST_TEXT = 80
"""Longer texts (a decision, a snapshot) are recorded as their SHA-256."""
ROWS = "rows"
NAMED_AT_MOST = 3

Rows = dict[str, dict[str, dict[str, Any]]]


def watch(connection: sqlite3.Connection) -> None:
    """Record from now on what this connection changes in the tables; `taken` returns it."""
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS changed_rows (name, key, col, value)")
    for table, keys in KEYS.items():
        defaults = _defaults(connection, table)
        for event, side in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
            key = " || ' ' || ".join(f"{side}.{name}" for name in keys)
            parts = [f"SELECT '{table}', {key}, '{mark}', 1" for mark in {"INSERT": NEW, "DELETE": GONE}.get(event, "")]
            if event != "DELETE":
                parts += [
                    f"SELECT '{table}', {key}, '{name}', NEW.{name} WHERE NEW.{name} IS NOT "
                    + (f"OLD.{name}" if event == "UPDATE" else _literal(default))
                    for name, default in defaults.items()
                ]
            noted = " UNION ALL ".join(parts)
            # Names of the schema and literals made here; nothing of a stranger's is in this text.
            connection.execute(
                f"CREATE TEMP TRIGGER IF NOT EXISTS note_{table}_{event} AFTER {event} ON main.{table}"
                f" BEGIN INSERT INTO changed_rows {noted}; END"
            )


def forget(connection: sqlite3.Connection) -> None:
    """Begin anew: what was changed outside a transaction of ours belongs to none."""
    connection.execute("DELETE FROM temp.changed_rows")


def taken(connection: sqlite3.Connection) -> Rows:
    """What was changed since `forget`, as a record carries it."""
    rows: Rows = {}
    for table, key, column, value in connection.execute("SELECT * FROM temp.changed_rows ORDER BY rowid").fetchall():
        _apply(rows.setdefault(table, {}), str(key), {column: as_recorded(value)})
    return rows


def whole(connection: sqlite3.Connection) -> Rows:
    """Every row as it stands: what the chain records once of a ledger from before `SINCE_VERSION`."""
    rows: Rows = {}
    for table in KEYS:
        for key, found in _stored(connection, table):
            rows.setdefault(table, {})[key] = {NEW: 1, **found}
    return rows


def as_recorded(value: Any) -> Any:
    """A column's value as the chain holds it."""
    if isinstance(value, bytes):
        return {"bytes": hashlib.sha256(value).hexdigest()}
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        return {"sha256": hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()}
    return value


def find_changed(connection: sqlite3.Connection, bodies: Iterable[tuple[int, str]]) -> tuple[int | None, str] | None:
    """(record, problem) of the rows that are not as the chain wrote them, None where all are. bodies: (seq, body) in order.

    The record is the last one that wrote the first such row; None where none did.
    """
    version = _version(connection)
    rows, last = _replayed(bodies)
    if version < SINCE_VERSION:
        return (None, "the ledger's version was set back by hand") if rows else None
    found: list[tuple[int | None, str]] = []
    for table in KEYS:
        found += _compare(connection, table, rows.get(table, {}), last.get(table, {}))
    if not found:
        return None
    more = f"; {len(found) - NAMED_AT_MOST} more rows" if len(found) > NAMED_AT_MOST else ""
    return found[0][0], "; ".join(text for _, text in found[:NAMED_AT_MOST]) + more


def _compare(
    connection: sqlite3.Connection, table: str, expected: dict[str, dict[str, Any]], last: dict[str, int]
) -> Iterator[tuple[int | None, str]]:
    defaults = {name: as_recorded(value) for name, value in _defaults(connection, table).items()}
    rest = dict(expected)
    for key, found in _stored(connection, table):
        wanted = rest.pop(key, None)
        name = f"{NAMES[table]} {key}{_of(found)}"
        if wanted is None:
            yield None, f"{name} was added by hand: no record knows it"
            continue
        # A column that came with a later Kobe has its default in older rows.
        differing = [column for column in found if found[column] != wanted.get(column, defaults[column])]
        if differing:
            column = differing[0]
            more = f", and {', '.join(differing[1:])}" if differing[1:] else ""
            yield (
                last.get(key),
                f"{name} was changed by hand: {column} is {_shown(found[column])}, the chain says"
                f" {_shown(wanted.get(column, defaults[column]))} (record {last.get(key)}){more}",
            )
    for key, wanted in rest.items():
        yield last.get(key), f"{NAMES[table]} {key}{_of(wanted)} was removed by hand: record {last.get(key)} knows it"


def _replayed(bodies: Iterable[tuple[int, str]]) -> tuple[Rows, dict[str, dict[str, int]]]:
    rows: Rows = {}
    last: dict[str, dict[str, int]] = {}
    for seq, body in bodies:
        # Most records change nothing in the tables; parsing them all would take longer than all the rest.
        if f'"{ROWS}":{{' not in body:
            continue
        changes = json.loads(body).get(ROWS, {})
        for table, changed in changes.items():
            for key, columns in changed.items():
                _apply(rows.setdefault(table, {}), key, columns)
                last.setdefault(table, {})[key] = seq
    ended = {table: [key for key, columns in known.items() if GONE in columns] for table, known in rows.items()}
    for table, keys in ended.items():
        for key in keys:
            del rows[table][key]
    return rows, last


def _apply(known: dict[str, dict[str, Any]], key: str, columns: dict[str, Any]) -> None:
    if NEW in columns or GONE in columns:
        known[key] = {}
    known.setdefault(key, {}).update(columns)


def _stored(connection: sqlite3.Connection, table: str) -> Iterator[tuple[str, dict[str, Any]]]:
    cursor = connection.execute(f"SELECT * FROM {table} ORDER BY rowid")  # noqa: S608
    names = [column[0] for column in cursor.description]
    for row in cursor:
        values = dict(zip(names, tuple(row), strict=True))
        yield " ".join(str(values[name]) for name in KEYS[table]), {name: as_recorded(value) for name, value in values.items()}


def _defaults(connection: sqlite3.Connection, table: str) -> dict[str, Any]:
    """Each column with the value that a row has which was never given one."""
    columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
    return {
        column[1]: None if column[4] is None else connection.execute(f"SELECT {column[4]}").fetchone()[0] for column in columns
    }


def _literal(value: Any) -> str:
    return "NULL" if value is None else str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"


def _version(connection: sqlite3.Connection) -> int:
    known = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'ledger_version'").fetchone()[0]
    return int((connection.execute("SELECT max(version) FROM ledger_version").fetchone()[0] or 0) if known else 0)


def _of(row: dict[str, Any]) -> str:
    words = " ".join(str(row[name]) for name in ("symbol", "leg") if isinstance(row.get(name), str))
    return f" ({words})" if words else ""


def _shown(value: Any) -> str:
    return "another text" if isinstance(value, dict) else "empty" if value in (None, "") else str(value)
