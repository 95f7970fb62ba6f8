"""Files of any common shape, understood and judged: what `kobe bars import` shows before it writes anything."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from kobe_resources.errors import UsageError
from kobe_resources.market_data.importing import judging
from kobe_resources.market_data.importing.faults import NO_DOLLARS, NO_ROW
from kobe_resources.market_data.importing.folder import Target, hold
from kobe_resources.market_data.importing.headers import Header, header_of, is_data, parquet_names, table_header
from kobe_resources.market_data.importing.judging import LeftOut
from kobe_resources.market_data.importing.pieces import Piece, Skipped, find_pieces, head_of
from kobe_resources.market_data.importing.shapes import (
    PRICES,
    SYNONYMS,
    exporter,
    is_actions,
    is_bars,
    meaning_of,
    named,
    normalized,
    understand,
)
from kobe_resources.market_data.importing.staging import Group, Wishes, name_owners, open_scratch, owner_of, stage
from kobe_resources.market_data.local.companies import SAME_HISTORY
from kobe_resources.market_data.local.opening import visible
from kobe_resources.market_data.protocol import MarketDataError, Progress
from kobe_resources.market_data.symbols import wrong_symbol

SHOWN_FILES = 3
BEGINNING = 40
"""Characters of a file that is left out which are shown."""
NAME_SYMBOL = "say --symbol SYMBOL, or --column symbol=NAME where a column holds them"
ADJUSTED_ONLY = {f"adjusted_{name}": name for name in (*PRICES, "volume")}


@dataclass
class FilesRead:
    """What the files hold. `connection` has it row by row (`staged`) as long as the reading is open."""

    connection: duckdb.DuckDBPyConnection
    target: Target
    groups: list[Group] = field(default_factory=list)
    candidates: list[Piece] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    mapped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    dividends_in_prices: bool = False
    """The prices are adjusted for dividends: paying them besides would count them twice."""


@contextmanager
def read_files(paths: list[Path], target: Target, wishes: Wishes, most_bad: float, progress: Progress) -> Iterator[FilesRead]:
    """The reading of `paths`, open for `folder.write`. Raises MarketDataError where nothing of them can be read for sure."""
    with tempfile.TemporaryDirectory(prefix="kobe-import-") as folder:
        connection = open_scratch(str(Path(folder) / "scratch.duckdb"))
        try:
            reading = FilesRead(connection, target)
            _read(reading, paths, Path(folder), wishes, most_bad, progress)
            yield reading
        finally:
            connection.close()


def _read(reading: FilesRead, paths: list[Path], scratch: Path, wishes: Wishes, most_bad: float, progress: Progress) -> None:
    pieces, reading.skipped = find_pieces(paths, scratch, reading.target.own_files(paths), progress)
    if not pieces and reading.target.bars.resolve().parent in {path.resolve() for path in paths if path.is_dir()}:
        what = f"{reading.target.bars} is where an import writes to, and no other files of bars are named"
        raise MarketDataError(what, "what lies there is in use without an import; name the folder of other files")
    if not pieces:
        raise MarketDataError(f"no files of bars in {', '.join(map(str, paths))}", "name CSV, Parquet, Excel, zip or gz files")
    _group(reading, pieces, wishes, progress)
    hold(reading.connection, reading.target, paths)
    progress.start("reading", sum(len(group.pieces) for group in reading.groups), "files")
    judging_done = 0
    for group in reading.groups:
        owners = zip(range(judging_done, judging_done + len(group.pieces)), group.symbols, strict=True)
        name_owners(reading.connection, owners)
        reading.mapped |= stage(reading.connection, group, wishes, judging_done, progress)
        judging_done += len(group.pieces)
        for piece in group.pieces:
            if why := group.unsure.get(str(piece.path)):
                _leave(reading, piece, f"is not read: {why}")
    _judge(reading, wishes, most_bad, progress)


def _group(reading: FilesRead, pieces: list[Piece], wishes: Wishes, progress: Progress) -> None:
    """Files of one header together, so that a column is judged as a whole and read in one go."""
    groups: dict[Any, Group] = {}
    seen: dict[str, Header] = {}
    progress.start("understanding", len(pieces), "files")
    for piece in pieces:
        header = _header(reading, piece, seen, list(wishes.columns.values()))
        progress.advance()
        if header is None:
            _leave(reading, piece, _nameless(piece))
            continue
        places = understand(header.names, wishes.columns).places
        if {"symbol", "has_options"} <= places.keys() and not is_bars(places):
            reading.candidates.append(piece)
            continue
        lacking = _lacking(header, places, wishes)
        if lacking:
            _leave(reading, piece, lacking)
            continue
        owner = owner_of(piece, header, wishes)
        if "symbol" not in places and (not header.tickers or header.only_ticker) and not _sound_owner(reading, piece, owner):
            continue
        wide = header.tickers if header.tickers and header.only_ticker is None else bool(header.tickers)
        key = (piece.form, header.delimiter, header.skip, header.names, wide)
        group = groups.get(key)
        if group is None:
            group = groups[key] = _new_group(len(groups), header, places)
        group.pieces.append(piece)
        group.symbols.append(owner)
    reading.groups = list(groups.values())
    if not reading.groups and not reading.candidates:
        skipped = [LeftOut(label, reason) for label, reason in reading.skipped]
        first = next(iter([*reading.left_out, *skipped]), LeftOut("nothing", "to import"))
        raise MarketDataError(f"{first.label} {first.reason}", first.mend)


def _header(reading: FilesRead, piece: Piece, seen: dict[str, Header], columns: list[str]) -> Header | None:
    if piece.form == "table":
        try:
            return table_header(parquet_names(reading.connection, piece.path))
        except duckdb.Error as error:
            _leave(reading, piece, f"cannot be read as Parquet ({str(error).splitlines()[0]})")
            return None
    # Files of one export begin alike: one look is enough, unless the lines under the first belong to the header.
    first, second = [*head_of(piece).split("\n", 2)[:2], ""][:2]
    alike = seen.get(first)
    if alike and alike.levels == 1 and alike.skip == 1 and is_data(second.strip().split(alike.delimiter)):
        return alike
    header = header_of(piece, columns, alike.delimiter if alike else None)
    if header:
        seen[first] = header
    return header


def _nameless(piece: Piece) -> str:
    """What is to say of a text without a header that is known: how it begins tells a person what it is."""
    begin = " ".join(head_of(piece)[:400].split())
    if not begin:
        return "is empty"
    return f"says nowhere what its columns are (it begins with {begin[:BEGINNING]!r})"


def _lacking(header: Header, places: dict[str, int], wishes: Wishes) -> str | None:
    """What a file lacks to be read; None where nothing."""
    for meaning, wanted in wishes.columns.items():
        if named(header.names, wanted) is None:
            return f"has no column {wanted!r} for {meaning} (found: {', '.join(header.names)[:200]})"
    if is_bars(places) or is_actions(places):
        return None if header.tickers else _twice(header, places, wishes)
    missing = [name for name in ("session", *PRICES) if name not in places]
    words = ", ".join("a date" if name == "session" else name for name in missing)
    return f"has no column of {words} (found: {', '.join(header.names)[:200]})"


def _twice(header: Header, places: dict[str, int], wishes: Wishes) -> str | None:
    """A column that is read and whose name stands twice: nothing says which of the two it is."""
    for meaning, place in places.items():
        name = header.names[place]
        # `T` and `t` are one name without case, and mean a ticker and a time.
        count = sum(normalized(other) == normalized(name) and meaning_of(other) == meaning_of(name) for other in header.names)
        if count > 1 and name.strip() and meaning not in wishes.columns:
            return f"has {count} columns {name.strip()!r} ({meaning})"
    return None


def _sound_owner(reading: FilesRead, piece: Piece, owner: str | None) -> bool:
    wrong = wrong_symbol(piece.stem) or (wrong_symbol(owner) if owner else None)
    if wrong:
        _leave(reading, piece, f"is named {piece.stem}, which {wrong[0]}, no symbol", NAME_SYMBOL)
        return False
    if owner is None:
        _leave(reading, piece, "has no column of symbols, and its name holds none", NAME_SYMBOL)
        return False
    if owner not in piece.stem and owner != piece.stem.upper():
        reading.mapped[piece.stem] = owner
    return True


def _leave(reading: FilesRead, piece: Piece, reason: str, mend: str = "") -> None:
    """Leave out a file of a folder, and name it; one that was named itself stops the import. mend: if not the usual one."""
    left = LeftOut(piece.label, reason, mend) if mend else LeftOut(piece.label, reason)
    if piece.named:
        raise MarketDataError(f"{left.label} {left.reason}", left.mend)
    reading.left_out.append(left)


def _new_group(number: int, header: Header, places: dict[str, int]) -> Group:
    places, by_name = _only_adjusted(dict(places)) if is_bars(places) else (dict(places), False)
    group = Group(number, header, exporter(header.names), [], places, [], is_bars(places), by_name)
    if group.is_bars and "volume" not in places:
        group.notes.append("no volume: read as 0, as of an index, which is never selected")
    return group


def _only_adjusted(places: dict[str, int]) -> tuple[dict[str, int], bool]:
    """Raw prices where they are; adjusted ones in their place where no others are, and whether that is so."""
    raw = {f"raw_{name}" for name in PRICES}
    if raw <= places.keys():
        return places | {name: places[f"raw_{name}"] for name in PRICES}, False
    missing = [name for name in PRICES if name not in places]
    if not missing:
        return places, False
    if missing == ["close"] and "raw_close" in places:
        return places | {"close": places["raw_close"]}, False
    return places | {
        plain: places[name] for name, plain in ADJUSTED_ONLY.items() if name in places and plain not in places
    }, True


def _judge(reading: FilesRead, wishes: Wishes, most_bad: float, progress: Progress) -> None:
    connection = reading.connection
    progress.start("judging", 5, "steps")
    judging.note_rejected(connection)
    reading.left_out += judging.files_without_rows(connection)
    named_files = {piece.label for group in reading.groups for piece in group.pieces if piece.named}
    for one in judging.drop_bad_files(connection, most_bad):
        if one.label in named_files:
            raise MarketDataError(f"{one.label}: {one.reason}", "mend the file, or say what its columns mean with --column")
        reading.left_out.append(one)
    progress.advance()
    judging.judge_repeated(connection, most_bad)
    progress.advance()
    if not connection.execute("SELECT 1 FROM staged WHERE fault IS NULL LIMIT 1").fetchall():
        labels = ", ".join(piece.label for group in reading.groups for piece in group.pieces[:SHOWN_FILES])
        faults = connection.execute("SELECT mode(fault) FROM staged WHERE fault <> ?", [NO_ROW]).fetchall()
        why = visible(f"no row is left, each {faults[0][0]}" if faults[0][0] else "no row under the header")
        mend = "see whether these are daily bars"
        if reading.left_out:
            raise MarketDataError(f"{reading.left_out[0].label}: {reading.left_out[0].reason}", mend)
        raise MarketDataError(f"{labels}: {why}", "import prices in dollars" if faults[0][0] == NO_DOLLARS else mend)
    judging.refuse_weekends(connection)
    judging.known_splits(connection, [group.number for group in reading.groups if group.raw_by])
    judging.refuse_turned_splits(connection)
    progress.advance()
    _judge_adjusted(reading, wishes)
    progress.advance()
    reading.notes += judging.off_the_week(connection)
    reading.notes += judging.off_calendar(connection)
    reading.notes += judging.slow_bars(connection)
    reading.notes += [] if wishes.adjusted else judging.off_cents(connection)
    reading.notes += judging.odd_actions(connection)
    reading.notes += judging.twins(connection, SAME_HISTORY)
    progress.advance()


def _judge_adjusted(reading: FilesRead, wishes: Wishes) -> None:
    """Raise MarketDataError for adjusted prices that the person did not ask for; turn their splits back where asked."""
    by_name = [group for group in reading.groups if group.by_name_adjusted]
    yahoo = [group.number for group in reading.groups if group.is_yahoo]
    shown = judging.adjusted_by(reading.connection, yahoo)
    if by_name:
        shown = f"{by_name[0].pieces[0].label} holds adjusted prices only ({', '.join(by_name[0].header.names)[:120]})"
    if shown and not wishes.adjusted:
        raise MarketDataError(
            f"the prices are adjusted: {shown}",
            "import prices as traded, or say --adjusted, which turns known splits back (Yahoo's are always in its prices)",
        )
    if wishes.adjusted:
        bars, symbols = judging.turn_back(reading.connection)
        if bars:
            note = f"splits of {symbols:,} symbols turned back in {bars:,} bars; splits that are not known stay in the prices"
            reading.notes.append(note)
        elif not all(group.raw_by for group in reading.groups):
            reading.notes.append("no split is known that the prices were adjusted for: they stay as they are")
        reading.dividends_in_prices = judging.between_cents(reading.connection, yahoo)
        if reading.dividends_in_prices:
            reading.notes.append("dividends are in the prices already: they are not written")


def parse_columns(given: list[str]) -> dict[str, str]:
    """meaning → column of `--column close=Adj`. Raises UsageError."""
    known = [*SYNONYMS]
    columns = {}
    for text in given:
        meaning, _, column = text.partition("=")
        meaning = {"date": "session", "ticker": "symbol"}.get(meaning.strip().lower(), meaning.strip().lower())
        if meaning not in known or not column.strip():
            raise UsageError(f"--column {text} names no meaning and column", f"write close=NAME; meanings: {', '.join(known)}")
        columns[meaning] = column.strip()
    return columns
