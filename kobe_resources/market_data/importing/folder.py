"""The folder that the vendor `files` reads, before an import and after it: what it holds, and what is added and restated."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from kobe_resources.errors import reason_of
from kobe_resources.market_data.importing.faults import NO_ROW
from kobe_resources.market_data.importing.judging import AGAIN, SOUND
from kobe_resources.market_data.local.files import COMPANIONS, companion
from kobe_resources.market_data.local.imported import COLUMNS as ASIDE_COLUMNS
from kobe_resources.market_data.local.imported import SET_ASIDE
from kobe_resources.market_data.protocol import MarketDataError, Progress
from kobe_resources.market_data.symbols import identity
from kobe_resources.runtime.atomic_files import sync_folder

if TYPE_CHECKING:
    from kobe_resources.market_data.importing.reading import FilesRead

BARS = ["symbol", "session", "open", "high", "low", "close", "volume"]
FIELDS = ["open", "high", "low", "close", "volume", "vwap", "trades"]
TYPES = {
    "symbol": "VARCHAR",
    "session": "DATE",
    "execution_date": "DATE",
    "ex_date": "DATE",
    "pay_date": "DATE",
    "kind": "VARCHAR",
}
SPLITS = ["symbol", "execution_date", "split_from", "split_to"]
DIVIDENDS = ["symbol", "ex_date", "amount", "kind", "pay_date"]
MOST_UNREAD = 0.01
ASIDE = ".original"
"""What a file in another shape is renamed to where the import takes its place."""


@dataclass(frozen=True)
class Target:
    """The bars file of the settings. own: it is there and Kobe reads it; foreign: it is there, in another shape."""

    bars: Path
    own: bool
    foreign: bool

    @property
    def folder(self) -> Path:
        return self.bars.parent

    def own_files(self, paths: Iterable[Path]) -> set[Path]:
        """Files of the target that are no input where a folder that holds them is imported."""
        own = {self.bars.resolve()} if self.own else set()
        if self.own:
            own |= {companion(self.folder, name).resolve() for name in (*COMPANIONS, SET_ASIDE)}
        return own - {path.resolve() for path in paths if path.is_file()}


@dataclass(frozen=True)
class Tally:
    """Rows of one file by what became of them; `kept` are those that the import does not speak of."""

    added: int = 0
    restated: int = 0
    unchanged: int = 0
    kept: int = 0


@dataclass(frozen=True)
class Written:
    """What an import wrote, and where."""

    path: Path
    bars: Tally
    splits: Tally
    dividends: Tally
    symbols: int
    moved: Path | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"path": str(self.path), "moved": str(self.moved) if self.moved else None}


def target_of(path: Path) -> Target:
    """The bars file that `data.files.path` names, there or not. Raises MarketDataError where no import could be put there."""
    if path.is_dir() or (not path.exists() and path.suffix.lower() not in (".csv", ".parquet")):
        if path.suffix and not path.is_dir() and path.suffix.lower() in (".xlsx", ".zip", ".gz", ".txt", ".xls"):
            raise MarketDataError(f"data.files.path is {path}", "set it to a folder, which the import makes and fills")
        held = [path / name for name in ("bars.parquet", "bars.csv") if (path / name).is_file()]
        if len(held) > 1:
            raise MarketDataError(f"{path} holds both bars.csv and bars.parquet", "move one of them away")
        bars = held[0] if held else path / "bars.parquet"
    else:
        bars = path
    if bars.suffix.lower() not in (".csv", ".parquet"):
        raise MarketDataError(
            f"data.files.path is {bars}, neither .csv nor .parquet", "set it to a folder, which the import fills"
        )
    own = bars.is_file() and _is_own(bars)
    return Target(bars, own, bars.is_file() and not own)


def _is_own(path: Path) -> bool:
    """Whether the file has Kobe's columns, and dates and numbers as Kobe reads them."""
    cells = ", ".join(f"try_cast({name} AS {_type(name)})" for name in BARS)
    try:
        with duckdb.connect() as connection:
            rows = connection.execute(f"SELECT {cells} {_source(path)} LIMIT 1000", [str(path)]).fetchall()
    except duckdb.Error:
        return False
    return sum(None in row for row in rows) <= MOST_UNREAD * len(rows)


def _source(path: Path) -> str:
    """SQL (one parameter, the path): the file's columns, names in small letters, as text or as they are stored."""
    if path.suffix.lower() == ".parquet":
        return "FROM read_parquet(?, hive_partitioning = false)"
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            names = [name.strip().lower() for name in next(csv.reader(lines), [])]
    except (OSError, UnicodeError, csv.Error):
        names = []
    layout = (
        ", ".join(f"'{name or place}': 'VARCHAR'" for place, name in enumerate(names) if "'" not in name) or "'none': 'VARCHAR'"
    )
    return (
        f"FROM read_csv(?, auto_detect = false, columns = {{{layout}}}, header = true, delim = ',', quote = '\"', "
        "escape = '\"', hive_partitioning = false, max_line_size = 16777216)"
    )


def _type(name: str) -> str:
    return TYPES.get(name, "DOUBLE")


def hold(connection: duckdb.DuckDBPyConnection, target: Target, paths: Iterable[Path]) -> None:
    """Tables `held_bars`, `held_splits`, `held_dividends`: the target's. Raises MarketDataError where that cannot be kept."""
    given = [path.resolve() for path in paths]
    mine = target.bars.resolve()
    if target.foreign and not any(path == mine or path in mine.parents for path in given):
        raise MarketDataError(
            f"{target.bars} is there already, in another shape",
            f"import it too: `kobe bars import {target.bars} …`, or move it away",
        )
    _hold(connection, "held_bars", target.bars if target.own else None, [*BARS, "vwap", "trades"], BARS)
    beside = {name: companion(target.folder, f"{name}.csv") for name in ("splits", "dividends")}
    for name, columns, needed in (("splits", SPLITS, SPLITS), ("dividends", DIVIDENDS, DIVIDENDS[:3])):
        # A companion that is imported itself, in whatever shape, is read as an input.
        path = None if beside[name].resolve() in given or not beside[name].is_file() else beside[name]
        _hold(connection, f"held_{name}", path, columns, needed)


def _hold(connection: duckdb.DuckDBPyConnection, table: str, path: Path | None, columns: list[str], needed: list[str]) -> None:
    if path is None:
        connection.execute(f"CREATE TABLE {table} ({', '.join(f'{name} {_type(name)}' for name in columns)})")
        return
    try:
        described = connection.execute(f"DESCRIBE {_source(path)}", [str(path)]).fetchall()
        there = {str(row[0]).lower() for row in described}
        cells = ", ".join(
            f"try_cast({name} AS {_type(name)}) AS {name}" if name in there else f"NULL::{_type(name)} AS {name}"
            for name in columns
        )
        whole = " AND ".join(f"{name} IS NOT NULL" for name in needed)
        connection.execute(f"CREATE TABLE {table} AS SELECT * FROM (SELECT {cells} {_source(path)}) WHERE {whole}", [str(path)])  # noqa: S608
        rows = connection.execute(f"SELECT count(*) FROM ({_source(path)})", [str(path)]).fetchall()[0][0]  # noqa: S608
    except duckdb.Error as error:
        raise MarketDataError(f"{path} cannot be read ({str(error).splitlines()[0]})", "mend it, or move it away") from None
    kept = connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]  # noqa: S608
    if rows - kept > MOST_UNREAD * rows:
        raise MarketDataError(f"{rows - kept:,} of {rows:,} rows of {path} cannot be read", "mend it, or move it away")


def write(reading: FilesRead, progress: Progress) -> Written:
    """Write the sound rows into the target, beside what it has; each file whole, or as it was."""
    connection, target = reading.connection, reading.target
    progress.start("writing", 3, "files")
    _merge_names(connection)
    spoken = "symbol IS NOT NULL AND session IS NOT NULL AND (fault IS NULL OR fault = 'has no prices')"
    split = f"split_from <> split_to AND {spoken}"
    dividend = f"dividend > 0 AND {spoken} AND {'false' if reading.dividends_in_prices else 'true'}"
    connection.execute(
        f"CREATE TABLE new_bars AS SELECT symbol, session, {', '.join(FIELDS)} FROM staged WHERE {SOUND};"  # noqa: S608
        f"CREATE TABLE new_splits AS SELECT DISTINCT symbol, session AS execution_date, split_from, split_to "
        f"FROM staged WHERE {split};"
        "CREATE TABLE new_dividends AS SELECT DISTINCT symbol, session AS ex_date, dividend AS amount, kind, pay_date FROM "
        f"(SELECT * REPLACE (coalesce(kind, 'regular') AS kind) FROM staged WHERE {dividend});"
    )
    tallies = (
        _merge(connection, "bars", ["symbol", "session"], FIELDS[:5], FIELDS[5:]),
        _merge(connection, "splits", ["symbol", "execution_date"], ["split_from", "split_to"], []),
        _merge(connection, "dividends", ["symbol", "ex_date", "kind"], ["amount"], ["pay_date"]),
    )
    symbols = connection.execute("SELECT count(DISTINCT symbol) FROM all_bars").fetchall()[0][0]
    try:
        moved = _put(reading, progress)
    except (OSError, duckdb.IOException) as error:
        raise MarketDataError(
            f"{target.folder} cannot be written ({reason_of(error)})", "see that the disk has room and that you may write there"
        ) from error
    return Written(target.bars, *tallies, symbols, moved)


def _merge_names(connection: duckdb.DuckDBPyConnection) -> None:
    """Give what is held the identity under which the same company comes now."""
    new = {row[0] for row in connection.execute(f"SELECT DISTINCT symbol FROM staged WHERE {SOUND}").fetchall()}  # noqa: S608
    for table in ("held_bars", "held_splits", "held_dividends"):
        for (held,) in connection.execute(f"SELECT DISTINCT symbol FROM {table}").fetchall():  # noqa: S608
            if held not in new and identity(held) in new:
                connection.execute(f"UPDATE {table} SET symbol = ? WHERE symbol = ?", [identity(held), held])  # noqa: S608


def _merge(connection: duckdb.DuckDBPyConnection, name: str, key: list[str], fields: list[str], extra: list[str]) -> Tally:
    """Table `all_NAME`: the new rows and the held ones that they do not replace. An extra field that is new to none stays."""
    using = ", ".join(key)
    differ = " OR ".join(
        [f"n.{field} IS DISTINCT FROM h.{field}" for field in fields]
        + [f"(n.{field} IS NOT NULL AND n.{field} IS DISTINCT FROM h.{field})" for field in extra]
    )
    picked = ", ".join([f"n.{field}" for field in fields] + [f"coalesce(n.{field}, h.{field}) AS {field}" for field in extra])
    connection.execute(
        f"CREATE TABLE all_{name} AS SELECT {using}, {picked}, h.{fields[0]} IS NULL AS fresh, "  # noqa: S608
        f"coalesce({differ}, true) AS changed FROM new_{name} n LEFT JOIN held_{name} h USING ({using})"
    )
    fresh, restated, unchanged = connection.execute(
        "SELECT count(*) FILTER (fresh), count(*) FILTER (NOT fresh AND changed), count(*) FILTER (NOT fresh AND NOT changed) "  # noqa: S608
        f"FROM all_{name}"
    ).fetchall()[0]
    columns = ", ".join([*key, *fields, *extra])
    kept = connection.execute(
        f"INSERT INTO all_{name} SELECT {columns}, NULL, NULL FROM held_{name} h ANTI JOIN new_{name} n USING ({using})"  # noqa: S608
    ).fetchall()[0][0]
    return Tally(fresh, restated, unchanged, kept)


def _put(reading: FilesRead, progress: Progress) -> Path | None:
    """All files as drafts first, then each in its place; where the foreign file of that name went."""
    connection, target = reading.connection, reading.target
    target.folder.mkdir(parents=True, exist_ok=True)
    optional = [name for name in FIELDS[5:] if connection.execute(f"SELECT count({name}) FROM all_bars").fetchall()[0][0]]  # noqa: S608
    wanted = {target.bars: f"SELECT {', '.join(BARS + optional)} FROM all_bars ORDER BY symbol, session"}  # noqa: S608
    for name, columns in (("splits", SPLITS), ("dividends", DIVIDENDS)):
        if connection.execute(f"SELECT 1 FROM all_{name} LIMIT 1").fetchall():  # noqa: S608
            order = ", ".join(columns[:2])
            wanted[companion(target.folder, f"{name}.csv")] = f"SELECT {', '.join(columns)} FROM all_{name} ORDER BY {order}"  # noqa: S608
    if reading.candidates:
        wanted[companion(target.folder, "candidates.csv")] = _candidates_sql(reading)
    if not connection.execute("SELECT 1 FROM all_bars LIMIT 1").fetchall():
        wanted.pop(target.bars)
    # A file of rows that are no longer aside is written empty, not left as it was.
    if _note_aside(reading) or (target.folder / SET_ASIDE).is_file():
        wanted[target.folder / SET_ASIDE] = f"SELECT DISTINCT {', '.join(ASIDE_COLUMNS)} FROM all_aside ORDER BY ALL"  # noqa: S608
    drafts = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in wanted}
    try:
        for path, sql in wanted.items():
            kind = "PARQUET, COMPRESSION zstd" if path.suffix.lower() == ".parquet" else "CSV, HEADER"
            place = str(drafts[path]).replace("'", "''")
            connection.execute(f"COPY ({sql}) TO '{place}' (FORMAT {kind})")
            _durable(drafts[path])
            progress.advance(note=path.name)
        moved = _move_aside(target) if target.foreign and target.bars in wanted else None
        for path in reversed(wanted):
            drafts[path].replace(path)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
    sync_folder(target.folder)
    return moved


def _note_aside(reading: FilesRead) -> int:
    """Table `all_aside`: what this import left out, and of earlier ones what has not come since; how many rows."""
    connection, held = reading.connection, reading.target.folder / SET_ASIDE
    layout = ", ".join(f"{name} VARCHAR" for name in ASIDE_COLUMNS)
    connection.execute(
        f"CREATE TABLE all_aside ({layout});"  # noqa: S608
        "INSERT INTO all_aside SELECT f.label, CASE WHEN f.skip IS NULL THEN 'row ' ELSE 'line ' END || "
        "(record - began + 1 + coalesce(f.skip, 0)), coalesce(symbol, spelled), session, fault "
        "FROM staged JOIN (SELECT file, min(record) AS began FROM staged GROUP BY file) USING (file) "
        f"JOIN files f ON f.id = staged.file WHERE fault IS NOT NULL AND fault NOT IN ('{AGAIN}', '{NO_ROW}');"
        "INSERT INTO all_aside SELECT f.label, 'line ' || line, NULL, NULL, fault FROM rejected JOIN files f ON f.id = file"
    )
    for label, reason, *_ in (*reading.left_out, *reading.skipped):
        connection.execute("INSERT INTO all_aside VALUES (?, NULL, NULL, NULL, ?)", [label, f"left out: {reason}"])
    if held.is_file():
        try:
            connection.execute(
                f"INSERT INTO all_aside SELECT {', '.join(f'h.{name}' for name in ASIDE_COLUMNS)} "  # noqa: S608
                "FROM read_csv(?, all_varchar = true, header = true, delim = ',', quote = '\"') h "
                "WHERE NOT EXISTS (SELECT 1 FROM all_bars b WHERE b.symbol = h.symbol AND b.session::VARCHAR = h.session) "
                "AND h.file NOT IN (SELECT label FROM files)",
                [str(held)],
            )
        except duckdb.Error:
            reading.notes.append(f"{held} could not be read, and is written anew")
    return int(connection.execute("SELECT count(*) FROM all_aside").fetchall()[0][0])


def _candidates_sql(reading: FilesRead) -> str:
    """Candidates of the files and of the folder; of one symbol the row that came last."""
    held = companion(reading.target.folder, "candidates.csv")
    paths = [*([held] if held.is_file() else []), *(piece.path for piece in reading.candidates)]
    parts = []
    for number, path in enumerate(paths):
        place = str(path).replace("'", "''")
        table = f"read_csv('{place}', all_varchar = true, header = true, delim = ',', quote = '\"')"
        parts.append(f"SELECT {number} AS part, * FROM {table}")  # noqa: S608
    latest = "QUALIFY row_number() OVER (PARTITION BY symbol ORDER BY part DESC) = 1"
    return f"SELECT * EXCLUDE (part) FROM ({' UNION ALL BY NAME '.join(parts)}) {latest} ORDER BY symbol"  # noqa: S608


def _move_aside(target: Target) -> Path:
    place = target.bars.with_name(target.bars.name + ASIDE)
    number = 1
    while place.exists():
        number += 1
        place = target.bars.with_name(f"{target.bars.name}.{number}{ASIDE}")
    target.bars.rename(place)
    return place


def _durable(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
