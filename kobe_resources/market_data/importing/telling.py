"""What an import understood, as plain values: columns with a row as read, what was mapped, set aside and left out."""

from __future__ import annotations

from typing import Any

from kobe_resources.market_data.importing.judging import SOUND, place_of
from kobe_resources.market_data.importing.reading import SHOWN_FILES, FilesRead
from kobe_resources.market_data.importing.staging import Group
from kobe_resources.market_data.local.opening import visible

SHOWN_REASONS = 20
TYPED = ("symbol", "session", "open", "high", "low", "close", "volume", "vwap", "trades", "dividend")
NUMBER_IN_WORDS = {",": "decimal comma", ".": "decimal point, thousands marked"}


def describe_import(reading: FilesRead) -> dict[str, Any]:
    """Everything that a person should know before bars are written."""
    connection = reading.connection
    bars, symbols, first, last = connection.execute(
        f"SELECT count(*), count(DISTINCT symbol), min(session), max(session) FROM staged WHERE {SOUND}"  # noqa: S608
    ).fetchall()[0]
    splits, dividends = connection.execute(
        "SELECT count(DISTINCT (symbol, session)) FILTER (split_from <> split_to), "
        "count(DISTINCT (symbol, session)) FILTER (dividend > 0) "
        "FROM staged WHERE fault IS NULL OR fault = 'has no prices'"
    ).fetchall()[0]
    return {
        "shapes": [_shape(reading, group) for group in reading.groups],
        "bars": bars,
        "symbols": symbols,
        "first_session": str(first) if first else None,
        "last_session": str(last) if last else None,
        "splits": splits,
        "dividends": 0 if reading.dividends_in_prices else dividends,
        "mapped": dict(sorted(reading.mapped.items())),
        "set_aside": _set_aside(reading),
        "left_out": [{"label": label, "reason": why} for label, why, *_ in (*reading.left_out, *reading.skipped)],
        "notes": [*reading.notes, *(note for group in reading.groups for note in group.notes)],
    }


def _shape(reading: FilesRead, group: Group) -> dict[str, Any]:
    names, places = group.header.names, group.places
    meaning_of = {place: meaning for meaning, place in places.items()}
    read = _read_row(reading, group)
    columns = []
    for place in range(len(names)) if not group.header.tickers else sorted(places.values()):
        meaning = meaning_of.get(place)
        cell = group.example.get(meaning) if meaning else None
        columns.append(
            {"column": names[place], "meaning": meaning, "cell": cell, "read": read.get(meaning) if meaning else None}
        )
    if "symbol" not in places:
        columns.insert(0, {"column": _where(group), "meaning": "symbol", "cell": None, "read": read.get("symbol")})
    return {
        "shape": group.shape.name if group.shape else _kind(group),
        "files": len(group.pieces),
        "file": [piece.label for piece in group.pieces[:SHOWN_FILES]],
        "dates": group.dates.how,
        "numbers": NUMBER_IN_WORDS.get(group.decimal or "", "plain"),
        "delimiter": group.header.delimiter,
        "columns": columns,
    }


def _kind(group: Group) -> str:
    if group.header.levels > 1:
        return f"yfinance, {group.header.levels} header lines"
    if not group.is_bars:
        return "splits and dividends"
    return (
        "no header: date, open, high, low, close, volume by their places"
        if not group.header.levels
        else "columns of known names"
    )


def _where(group: Group) -> str:
    return "(the header)" if group.header.tickers else "(the file's name)"


def _read_row(reading: FilesRead, group: Group) -> dict[str, Any]:
    """The example row as it was read, by meaning."""
    if group.example_row is None:
        return {}
    values = reading.connection.execute(
        f"SELECT {', '.join(TYPED)}, split_from, split_to FROM staged WHERE file = ? AND record = ? AND symbol = ?",  # noqa: S608
        list(group.example_row),
    ).fetchall()
    if not values:
        return {}
    row = dict(zip((*TYPED, "split_from", "split_to"), values[0], strict=True))
    row["session"] = str(row["session"])
    split = f"{row['split_from']:g} to {row['split_to']:g}" if row["split_from"] and row["split_to"] else "none"
    return row | {"split": split, "raw_close": row["close"]}


def _set_aside(reading: FilesRead) -> list[dict[str, Any]]:
    """How many rows for which reason, and the first of them: file, row, symbol, session."""
    connection = reading.connection
    # Numbers differ from row to row; the words say what is wrong.
    rows = connection.execute(
        "SELECT regexp_replace(fault, '[-0-9.]+(e[-+]?[0-9]+)?', '…', 'g') AS words, count(*), min(file), "
        "arg_min(record, (file, record)), arg_min(fault, (file, record)), arg_min(coalesce(symbol, spelled), (file, record)), "
        "arg_min(session, (file, record)) "
        "FROM staged WHERE fault IS NOT NULL GROUP BY words ORDER BY count(*) DESC, words LIMIT ?",
        [SHOWN_REASONS],
    ).fetchall()
    found = []
    for _, count, file, record, reason, symbol, session in rows:
        label = connection.execute("SELECT label FROM files WHERE id = ?", [file]).fetchall()[0][0]
        first = {"file": label, "place": place_of(connection, file, record), "symbol": symbol}
        found.append({"reason": visible(reason), "rows": count, **first, "session": str(session) if session else None})
    torn = connection.execute(
        "SELECT any_value(r.fault), count(*), arg_min(f.label, r.line), min(r.line) "
        "FROM rejected r JOIN files f ON f.id = r.file HAVING count(*) > 0"
    ).fetchall()
    return found + [
        {"reason": why, "rows": n, "file": label, "place": f"line {line}", "symbol": None, "session": None}
        for why, n, label, line in torn
    ]
