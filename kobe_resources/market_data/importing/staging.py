"""Rows of many files in one scratch database, typed, each with its symbol and session or with what is wrong with it.

Everything per row is SQL; Python sees only the different dates, symbols and splits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import duckdb

from kobe_resources.market_data.importing.dates import ORDERS, Dates, read_dates, suit_better_turned
from kobe_resources.market_data.importing.faults import action_faults, fault_sql, price_faults
from kobe_resources.market_data.importing.headers import Header
from kobe_resources.market_data.importing.numbers import blank, decimal_mark, mark_of_points, number, unsure_files
from kobe_resources.market_data.importing.pieces import Piece
from kobe_resources.market_data.importing.shapes import (
    KOBE_ADJUSTED,
    PRICES,
    YFINANCE,
    Shape,
    meaning_of,
    normalized,
    understand,
)
from kobe_resources.market_data.importing.splits import read_splits
from kobe_resources.market_data.importing.tickers import symbol_in_name
from kobe_resources.market_data.protocol import MarketDataError, Progress
from kobe_resources.market_data.symbols import identity, wrong_symbol

if TYPE_CHECKING:
    from collections.abc import Collection

MOST_DAYS = 400_000
"""Different dates of one export: more are moments of trading, not days."""
MOST_HEADERS = 1_000
"""Different rows of words in a column of prices that are looked at."""
BATCH = 64
"""Files that are read in one statement."""
NUMBERS = (*PRICES, "volume", "vwap", "trades", "raw_close", "dividend", "split_from", "split_to", "factor")
VOLUME_LIKE = re.compile(r"vol(ume)?$")
TEXTS = ("symbol", "session", "split", "period", "kind", "pay_date", "currency", "listing")


@dataclass
class Group:
    """Files with one header, and how they are read."""

    number: int
    header: Header
    shape: Shape | None
    pieces: list[Piece]
    places: dict[str, int]
    """meaning → place of its column."""
    symbols: list[str | None]
    """What each piece is named after, where no column says it."""
    is_bars: bool
    by_name_adjusted: bool = False
    dates: Dates = field(default_factory=lambda: Dates({}, ""))
    decimal: str | None = None
    raw_by: str = ""
    """SQL: what turns the four adjusted prices of a row back; empty where they are as traded."""
    unsure: dict[str, str] = field(default_factory=dict)
    """Files left out whose numbers or dates the other files would decide: path → why."""
    notes: list[str] = field(default_factory=list)
    example: dict[str, str] = field(default_factory=dict)
    """The cells of one sound row, by meaning."""
    example_row: tuple[int, int, str] | None = None
    """That row's file, record and symbol."""

    @property
    def is_yahoo(self) -> bool:
        """Whether yfinance wrote it, which adjusts all four prices unless it is told not to, and then gives both closes."""
        written = self.header.levels > 1 or (self.shape is not None and self.shape.name == YFINANCE)
        return written and "adjusted_close" not in understand(self.header.names).places


@dataclass(frozen=True)
class Wishes:
    """What the person says beyond the files: meaning → column, one symbol, order of dates, decimal mark, adjusted bars."""

    columns: Mapping[str, str] = field(default_factory=dict)
    symbol: str | None = None
    dates: str | None = None
    decimal: str | None = None
    adjusted: bool = False


def open_scratch(path: str) -> duckdb.DuckDBPyConnection:
    """A database of its own file: what does not fit in memory stays there."""
    connection = duckdb.connect(path)
    connection.execute("SET TimeZone = 'UTC'; SET memory_limit = '1500MB'; SET preserve_insertion_order = true")
    connection.execute(
        "CREATE TABLE files (path VARCHAR, id INTEGER, label VARCHAR, batch INTEGER, skip INTEGER);"
        "CREATE TABLE staged (file INTEGER, record BIGINT, symbol VARCHAR, session DATE, open DOUBLE, high DOUBLE, low DOUBLE, "
        "close DOUBLE, volume DOUBLE, vwap DOUBLE, trades DOUBLE, dividend DOUBLE, split_from DOUBLE, split_to DOUBLE, "
        "kind VARCHAR, pay_date DATE, priced BOOLEAN, spelled VARCHAR, fault VARCHAR, fatal BOOLEAN)"
    )
    return connection


def stage(
    connection: duckdb.DuckDBPyConnection, group: Group, wishes: Wishes, first_id: int, progress: Progress
) -> dict[str, str]:
    """Read the group's files into `staged`; symbols that were spelled otherwise → their identity.

    Raises MarketDataError where dates or numbers cannot be read for sure.
    """
    _load(connection, group, first_id, progress)
    _keep_columns(connection, group)
    _long(connection, group)
    _dates(connection, group, wishes)
    mapped = _symbols(connection, wishes)
    _splits(connection)
    _read_marks(connection, group, wishes)
    _choose_closes(connection, group)
    connection.execute(_staging_sql(group))
    _keep_example(connection, group, first_id)
    connection.execute("DROP VIEW typed; DROP VIEW long; DROP TABLE raw; DROP TABLE days; DROP TABLE names; DROP TABLE ratios")
    return mapped


def _load(connection: duckdb.DuckDBPyConnection, group: Group, first_id: int, progress: Progress) -> None:
    """Table `raw`: the file's path and the columns that mean something, as text, in the order of the files."""
    used = sorted({*group.places.values(), *_wide_places(group)})
    columns = ", ".join(f"c{place} VARCHAR" for place in used)
    connection.execute(f"CREATE TABLE raw (file VARCHAR, {columns})")
    skip = group.header.skip if group.pieces[0].form == "text" else None
    rows = [(str(piece.path), first_id + n, piece.label, group.number, skip) for n, piece in enumerate(group.pieces)]
    _fill(connection, "files", ("VARCHAR", "INTEGER", "VARCHAR", "INTEGER", "INTEGER"), rows)
    for begin in range(0, len(group.pieces), BATCH):
        batch = group.pieces[begin : begin + BATCH]
        paths = [_literal(str(piece.path)) for piece in batch]
        reading = _text_sql(group.header, used) if batch[0].form == "text" else _table_sql(used)
        try:
            _insert(connection, reading, paths)
        except duckdb.Error as error:
            raise MarketDataError(
                f"{batch[0].label} cannot be read ({str(error).splitlines()[0]})", "export it again"
            ) from None
        progress.advance(len(batch), batch[-1].label)


def _insert(connection: duckdb.DuckDBPyConnection, reading: str, paths: list[str]) -> None:
    try:
        connection.execute(f"INSERT INTO raw {reading}", [paths])
    except duckdb.InvalidInputException:
        # Quoted line breaks can only be read from the beginning to the end.
        connection.execute(f"INSERT INTO raw {reading.replace('null_padding', 'parallel = false, null_padding')}", [paths])


def _text_sql(header: Header, used: Sequence[int]) -> str:
    layout = ", ".join(f"'c{place}': 'VARCHAR'" for place in range(len(header.names)))
    select = ", ".join(f"c{place}" for place in used)
    mark = header.delimiter.replace("'", "''")
    return (
        f"SELECT filename, {select} FROM read_csv(?, auto_detect = false, columns = {{{layout}}}, header = false, "  # noqa: S608
        f"skip = {header.skip}, delim = '{mark}', quote = '\"', escape = '\"', null_padding = true, filename = true, "
        "ignore_errors = true, store_rejects = true, rejects_limit = 0, hive_partitioning = false, "
        "max_line_size = 16777216, compression = 'none')"
    )


def _table_sql(used: Sequence[int]) -> str:
    # Names are those of the file; `Header.names` may have lost a ticker.
    return (
        "SELECT filename, "  # noqa: S608
        + ", ".join(f"#{place + 1}::VARCHAR" for place in used)
        + " FROM read_parquet(?, filename = true, hive_partitioning = false)"
    )


def _keep_columns(connection: duckdb.DuckDBPyConnection, group: Group) -> None:
    """Raise MarketDataError where files of other columns were put one under the other: a header among the rows says so."""
    read = [place for meaning, place in sorted(group.places.items()) if meaning in PRICES]
    if not read or group.pieces[0].form != "text" or _is_wide(group):
        return
    # A symbol may be called like a column.
    used = sorted(place for meaning, place in group.places.items() if meaning != "symbol")
    cells = ", ".join(f"c{place}" for place in used)
    words = rf"SELECT DISTINCT file, {cells} FROM raw WHERE regexp_matches(c{read[0]}, '^[^0-9]*\pL') LIMIT {MOST_HEADERS}"  # noqa: S608
    for path, *row in connection.execute(words).fetchall():
        for place, cell in zip(used, row, strict=True):
            meant, above = meaning_of(cell or ""), group.header.names[place]
            if meant and meant != meaning_of(above):
                label = next((piece.label for piece in group.pieces if str(piece.path) == path), path)
                what = f"{label} has a header among its rows, with {cell.strip()} where {above.strip()} is read"
                raise MarketDataError(what, "import the files that were put one under the other each by itself")


def _wide_places(group: Group) -> list[int]:
    return [place for place, ticker in enumerate(group.header.tickers) if ticker]


def _long(connection: duckdb.DuckDBPyConnection, group: Group) -> None:
    """View `long`: one row a symbol and session, a column a meaning, as text."""
    if not _is_wide(group):
        given = {meaning: f"c{place}" for meaning, place in group.places.items()}
        cells = ", ".join(f"{given.get(name, 'NULL::VARCHAR')} AS {name}" for name in (*TEXTS, *NUMBERS))
        connection.execute(f"CREATE VIEW long AS SELECT rowid AS record, file, {cells} FROM raw")  # noqa: S608
        return
    structs = []
    for ticker in dict.fromkeys(ticker for ticker in group.header.tickers if ticker):
        own = [name if group.header.tickers[n] == ticker else "" for n, name in enumerate(group.header.names)]
        places = understand(own).places
        text = ticker.replace("'", "''")
        cells = ", ".join(
            f"{name}: {f'c{places[name]}' if name in places else 'NULL::VARCHAR'}" for name in (*TEXTS[2:], *NUMBERS)
        )
        structs.append(f"{{symbol: '{text}', {cells}}}")
    connection.execute(
        "CREATE VIEW long AS SELECT record, file, session, unnest(cells, recursive := true) FROM "  # noqa: S608
        f"(SELECT rowid AS record, file, "
        f"c{group.places['session']} AS session, [{', '.join(structs)}] AS cells FROM raw)"
    )


def _keep_example(connection: duckdb.DuckDBPyConnection, group: Group, first_id: int) -> None:
    """Note the first sound row of the group and its cells, for the person to compare."""
    found = connection.execute(
        "SELECT file, record, symbol, spelled FROM staged WHERE file >= ? AND fault IS NULL ORDER BY file, record LIMIT 1",
        [first_id],
    ).fetchall()
    if not found:
        return
    file, record, symbol, spelled = found[0]
    group.example_row = (file, record, symbol)
    result = connection.execute(
        "SELECT * FROM long WHERE record = ? AND (symbol IS NULL OR symbol = ?) LIMIT 1", [record, spelled]
    )
    names = [item[0] for item in result.description or []]
    for cells in result.fetchall():
        group.example = {name: str(cell) for name, cell in zip(names, cells, strict=True) if cell is not None}


def _is_wide(group: Group) -> bool:
    return bool(group.header.tickers) and group.header.only_ticker is None


def _dates(connection: duckdb.DuckDBPyConnection, group: Group, wishes: Wishes) -> None:
    """Table `days`: a text of the column → its session."""
    texts = [row[0] for row in connection.execute(f"SELECT DISTINCT session FROM long LIMIT {MOST_DAYS + 1}").fetchall()]  # noqa: S608
    if len(texts) > MOST_DAYS:
        raise MarketDataError(f"{group.pieces[0].label} holds moments of trading, not days", "export daily bars")
    usual = group.shape.order if group.shape else None
    try:
        group.dates = read_dates([text for text in texts if text is not None], wishes.dates, usual)
    except MarketDataError as error:
        more = len(group.pieces) - 1
        files = f" and {more:,} more {'files' if more > 1 else 'file'} like it" if more else ""
        raise MarketDataError(f"{group.pieces[0].label}{files}: {error.what}", error.hint) from None
    _table(connection, "days", "text VARCHAR, day DATE", list(group.dates.days.items()))
    if group.dates.how in ORDERS.values() and wishes.dates is None and len(group.pieces) > 1:
        _leave_turned(connection, group)


def _symbols(connection: duckdb.DuckDBPyConnection, wishes: Wishes) -> dict[str, str]:
    """Table `names`: how a symbol is spelled → its identity, or what is wrong with it. Spelled → identity where they differ."""
    # Those of rows without a date are words of a header that stands under itself, or of a footer.
    sql = "SELECT DISTINCT symbol FROM long JOIN days ON text = session WHERE symbol IS NOT NULL AND day IS NOT NULL"
    column = [row[0] for row in connection.execute(sql).fetchall()]
    rows: list[tuple[str, str | None, str | None]] = []
    mapped = {}
    for spelled in column:
        wrong = None if wishes.symbol else wrong_symbol(spelled)
        name = identity(wishes.symbol or spelled)
        rows.append((spelled, None if wrong or not name else name, f"{wrong[0]}: {wrong[1]}" if wrong else None))
        if not wrong and not wishes.symbol and name and name != spelled:
            mapped[spelled] = name
    _table(connection, "names", "spelled VARCHAR, symbol VARCHAR, wrong VARCHAR", rows)
    return mapped


def _splits(connection: duckdb.DuckDBPyConnection) -> None:
    """Table `ratios`: a text of the split column → from, to."""
    texts = [row[0] for row in connection.execute("SELECT DISTINCT split FROM long WHERE split IS NOT NULL").fetchall()]
    _table(connection, "ratios", "text VARCHAR, split_from DOUBLE, split_to DOUBLE, wrong BOOLEAN", read_splits(texts))


def _table(connection: duckdb.DuckDBPyConnection, name: str, columns: str, rows: Sequence[tuple[object, ...]]) -> None:
    connection.execute(f"CREATE TABLE {name} ({columns})")
    _fill(connection, name, [column.rsplit(" ", 1)[1] for column in columns.split(", ")], rows)


def _fill(connection: duckdb.DuckDBPyConnection, name: str, kinds: Sequence[str], rows: Sequence[tuple[object, ...]]) -> None:
    """Insert rows by columns, in one statement: `executemany` takes a millisecond a row."""
    parts = list(zip(*rows, strict=True))
    if parts:
        picked = ", ".join(f"unnest(?::{kind}[])" for kind in kinds)
        connection.execute(f"INSERT INTO {name} SELECT {picked}", [list(part) for part in parts])


def _read_marks(connection: duckdb.DuckDBPyConnection, group: Group, wishes: Wishes) -> None:
    """How numbers are written: the prices decide, and the volume for itself where it tells."""
    held = _held(group)
    prices = [name for name in NUMBERS if name in held and name not in ("volume", "trades")]
    usual = "," if group.header.delimiter == ";" else None
    try:
        group.decimal = decimal_mark(connection, "long", prices, wishes.decimal, usual)
        volumes = ["volume"] if "volume" in held else []
        if prices and group.decimal == usual == "," and wishes.decimal is None:
            group.decimal = mark_of_points(connection, "long", prices, volumes)
        if prices and group.decimal and wishes.decimal is None and len(group.pieces) > 1:
            _leave_unsure(connection, group, prices, group.decimal)
        shares = decimal_mark(connection, "long", volumes, wishes.decimal, group.decimal or ".")
    except MarketDataError as error:
        raise MarketDataError(f"{group.pieces[0].label}: {error.what}", error.hint) from None
    marks = dict.fromkeys(NUMBERS, group.decimal) | {"volume": shares, "trades": shares}
    values = {name: number(name, marks[name]) for name in NUMBERS if name in held}
    if "volume" in held:
        values["volume"] = _volume_or_none(connection, group, values["volume"])
    cells = ", ".join(f"{value} AS {name}_" for name, value in values.items())
    connection.execute(f"CREATE OR REPLACE VIEW typed AS SELECT *, {cells or 'NULL AS none_'} FROM long")  # noqa: S608


def _leave_unsure(connection: duckdb.DuckDBPyConnection, group: Group, prices: Sequence[str], decimal: str) -> None:
    """Take out the files for which the others would decide: one program writes points, another commas."""
    cells = unsure_files(connection, "long", prices, decimal)
    words = "may be more than a thousand, or less than a thousand; import it apart with --decimal . or --decimal ,"
    _leave(connection, group, {path: f"{cell} {words}" for path, cell in cells.items()})


def _leave_turned(connection: duckdb.DuckDBPyConnection, group: Group) -> None:
    """Take out the files whose dates say nowhere what comes first, and suit the order of the others worse than the other."""
    rows = connection.execute(
        "SELECT file, list(DISTINCT session) FROM long WHERE session IS NOT NULL GROUP BY file "
        r"HAVING bool_and(regexp_full_match(trim(session), '(0?[1-9]|1[0-2])[-/.](0?[1-9]|1[0-2])[-/.]\d{2,4}.*'))"
    ).fetchall()
    words = f"is not {group.dates.how}, by the days of the other dates; import it apart with --dates mdy or --dates dmy"
    turned = {path: f"{min(texts)} {words}" for path, texts in rows if suit_better_turned(texts, group.dates.how)}
    _leave(connection, group, turned)


def _leave(connection: duckdb.DuckDBPyConnection, group: Group, reasons: Mapping[str, str]) -> None:
    group.unsure |= reasons
    for table, column in (("raw", "file"), ("files", "path")):
        connection.execute(f"DELETE FROM {table} WHERE list_contains($1::VARCHAR[], {column})", [[*reasons]])  # noqa: S608


def _volume_or_none(connection: duckdb.DuckDBPyConnection, group: Group, volume: str) -> str:
    """SQL: the volume; 0 in files whose column of volume is empty from end to end, as exporters leave it of an index."""
    connection.execute(
        f"CREATE OR REPLACE TABLE quiet AS SELECT file FROM long GROUP BY file HAVING count({volume}) = 0"  # noqa: S608
    )
    quiet = connection.execute("SELECT count(*) FROM quiet").fetchall()[0][0]
    if not quiet:
        group.notes += _other_volume(connection, group, volume)
        return volume
    group.notes.append(f"{quiet:,} files give no volume: read as 0, as of an index, which is never selected")
    return f"CASE WHEN {blank('volume')} AND file IN (SELECT file FROM quiet) THEN 0.0 ELSE {volume} END"  # noqa: S608


def _other_volume(connection: duckdb.DuckDBPyConnection, group: Group, volume: str) -> list[str]:
    """A line where the volume that is read is 0 throughout, beside a column that is named like one and is not read."""
    names = group.header.names
    unread = [n for n in range(len(names)) if n not in group.places.values() and VOLUME_LIKE.search(normalized(names[n]))]
    if _is_wide(group) or not unread or connection.execute(f"SELECT 1 FROM long WHERE {volume} <> 0 LIMIT 1").fetchall():  # noqa: S608
        return []
    read, other = (names[n].strip().strip("<>") for n in (group.places["volume"], unread[0]))
    return [f"the volume {read} is 0 throughout, and such symbols are never selected: --column volume={other} reads {other}"]


def _held(group: Group) -> Collection[str]:
    return set(understand(group.header.names).places) if _is_wide(group) else group.places.keys()


def _choose_closes(connection: duckdb.DuckDBPyConnection, group: Group) -> None:
    """Set what turns the prices back to raw ones (`raw_by`), where a factor, or a raw close among adjusted prices, tells it."""
    held = _held(group)
    if _is_factored(group):
        group.raw_by = "coalesce(1 / nullif(factor_, 0), 1)"
        group.notes.append("prices are adjusted, with their factor: all four are turned back by it, and its splits are taken")
        return
    if not {"raw_close", "close"} <= set(held) or not group.is_bars:
        return
    inside = connection.execute(
        "SELECT avg((raw_close_ BETWEEN low_ * 0.999 AND high_ * 1.001)::INT) FROM typed WHERE raw_close_ > 0 AND low_ > 0"
    ).fetchall()[0][0]
    if inside is not None and inside < 0.98:
        group.raw_by = "coalesce(raw_close_ / nullif(close_, 0), 1)"
        group.notes.append(
            "prices are adjusted, and the raw close is given: all four are turned back by it, and the volume too"
        )


def _is_factored(group: Group) -> bool:
    return group.shape is not None and group.shape.name == KOBE_ADJUSTED


def _split_of_factor() -> tuple[str, str]:
    """SQL: the split that the factor of a row and of the row before it tell, as 2 for 1 or 1 for 2; 1 for 1 where none."""
    before = "lag(factor_) OVER (PARTITION BY typed.file, typed.symbol, typed.listing ORDER BY days.day)"
    ratio = f"coalesce(factor_ / {before}, 1)"
    return f"round(greatest(1 / {ratio}, 1), 6)", f"round(greatest({ratio}, 1), 6)"


def _staging_sql(group: Group) -> str:
    held = _held(group)
    value = {name: f"{name}_" if name in held else "NULL::DOUBLE" for name in NUMBERS}
    scale = group.raw_by
    prices = {name: f"{value[name]} * {scale}" if scale else value[name] for name in PRICES}
    if "raw_close" in held and "close" in held:
        prices["close"] = "raw_close_"
    volume = (f"volume_ / {scale}" if scale else "volume_") if "volume" in held else "0.0"
    split_from, split_to = _split_of_factor() if _is_factored(group) else (value["split_from"], value["split_to"])
    # A table's own column speaks first; else its file's name, or the header's second level.
    own = "names.symbol" if "symbol" in held or _is_wide(group) else "owner.symbol"
    spelled = "typed.symbol" if "symbol" in held or _is_wide(group) else "owner.symbol"
    dated = group.header.names[group.places["session"]]
    cell_fault = fault_sql(held, NUMBERS, group.is_bars, _is_wide(group), dated)
    inner = (
        f"SELECT f.id AS file, typed.record, {own} AS symbol, days.day AS session, "  # noqa: S608
        + ", ".join(f"{prices[name]} AS {name}" for name in PRICES)
        + f", {volume} AS volume, {value['vwap']} AS vwap, {value['trades']} AS trades, {value['dividend']} AS dividend, "
        f"coalesce(ratios.split_from, {split_from}) AS split_from, "
        f"coalesce(ratios.split_to, {split_to}) AS split_to, typed.kind, "
        f"try_cast(typed.pay_date AS DATE) AS pay_date, {str(group.is_bars).lower()} AS priced, {spelled} AS spelled, "
        f"{cell_fault} AS cell_fault FROM typed JOIN files f ON f.path = typed.file AND f.batch = {group.number} "
        "LEFT JOIN days ON days.text = typed.session LEFT JOIN names ON names.spelled = typed.symbol "
        "LEFT JOIN ratios ON ratios.text = typed.split LEFT JOIN owners AS owner ON owner.file = f.id"
    )
    wrong, fatal = price_faults() if group.is_bars else action_faults()
    return (
        "INSERT INTO staged SELECT file, record, symbol, session, open, greatest(open, high, close), "  # noqa: S608
        "least(open, low, close), close, volume, vwap, trades, dividend, split_from, split_to, kind, pay_date, priced, "
        f"spelled, coalesce(cell_fault, {wrong}), coalesce(cell_fault IS NULL AND {fatal}, false) FROM ({inner})"
    )


def name_owners(connection: duckdb.DuckDBPyConnection, rows: Iterator[tuple[int, str | None]]) -> None:
    """Table `owners`: a file → the symbol that all its rows are of, where no column says it."""
    connection.execute("CREATE TABLE IF NOT EXISTS owners (file INTEGER, symbol VARCHAR)")
    _fill(connection, "owners", ("INTEGER", "VARCHAR"), list(rows))


def owner_of(piece: Piece, header: Header, wishes: Wishes) -> str | None:
    """The symbol of a file without a column of symbols: as said, as its header says, or by its name."""
    symbol = wishes.symbol or header.only_ticker or symbol_in_name(piece.stem)
    return identity(symbol) if symbol else None


def _literal(path: str) -> str:
    """The path with its own glob characters made literal, because DuckDB reads paths as patterns."""
    return re.sub(r"[*?\[]", lambda found: f"[{found[0]}]", path)
