"""Stored bars as flat arrays, sorted by symbol and session, for what looks along the bars of every symbol, selected or not.

They are whatever the store holds, repeated bars included: the readers look for what is wrong. So many symbols at a time, that
a market of thousands needs no more memory than a part of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kobe_resources.runtime.sql_files import read_sql

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence

    import duckdb
    import pandas as pd

    from kobe_resources.warehouse.store import Warehouse


HERE = Path(__file__).parent
MOST_BARS = 800_000
KEPT_BARS = 3_000_000
"""A store of so many bars is kept in memory once it was read whole: checks, universe and panel read it one after the other."""
BAR_NUMBERS = ("open", "high", "low", "close", "volume", "factor")
COLUMNS = {"session": np.dtype("datetime64[D]"), **dict.fromkeys(BAR_NUMBERS, np.dtype(np.float64))}
Room = dict[str, NDArray[Any]]
"""COLUMNS of the bars of several tables, one after the other."""


_kept: list[tuple[object, tuple[BarTable, ...]]] = []
"""At most one: what was read, and its tables."""
_listings: list[tuple[tuple[Path, str], pd.DataFrame]] = []
"""At most one: a version of the bars, and the rows of later_listings."""


@dataclass(frozen=True)
class BarTable:
    """All bars of some symbols.

    symbols: sorted names of listings; a symbol with several is there as often.
    start: (symbols + 1) offsets into the arrays that follow, all of them (bars) long.
    symbol: place in `symbols`. session: datetime64[D]. open to volume: adjusted. factor: raw close × factor = close.
    """

    symbols: tuple[str, ...]
    start: NDArray[np.int64]
    symbol: NDArray[np.int32]
    session: NDArray[np.datetime64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    factor: NDArray[np.float64]

    @cached_property
    def follows(self) -> NDArray[np.bool_]:
        """(bars − 1) true where bar i + 1 is of the same symbol as bar i."""
        name = np.cumsum([a != b for a, b in zip(self.symbols, (None, *self.symbols[:-1]), strict=True)])[self.symbol]
        same: NDArray[np.bool_] = name[1:] == name[:-1]
        return same


def read_bar_tables(
    warehouse: Warehouse, most: int = MOST_BARS, last_bars: int | None = None, in_panel: bool = False
) -> Iterator[BarTable]:
    """All bars of the store, each symbol whole, in tables of at most `most` bars (more where one symbol has more).

    No table where the store is empty. Only one need be in memory: of most symbols no figure is computed. last_bars: of each
    symbol only so many need be there, the last ones. in_panel: only symbols of the panel need be there. There may be more.
    """
    with warehouse.connect() as connection:
        read = warehouse.path, most, warehouse.content_version("daily_bars", "splits")
        if _kept and _kept[0][0] == read:
            yield from _kept[0][1]
            return
        _ask_for(connection, last_bars, in_panel)
        counts = connection.execute("SELECT symbol, count(*) FROM asked_bars GROUP BY symbol ORDER BY symbol").fetchall()
        name_listings(warehouse, connection)
        last_session = connection.execute("SELECT max(session) FROM daily_bars").fetchall()[0][0]
        bars = sum(count for _, count in counts)
        is_kept = last_bars is None and not in_panel and bars <= KEPT_BARS
        # Parts of what is kept are written side by side from the start: memory that is new is slow.
        room = {name: np.empty(bars, kind) for name, kind in COLUMNS.items()} if is_kept else None
        tables: list[BarTable] = []
        at = 0
        for names in _parts(counts, most):
            own = room and {name: column[at:] for name, column in room.items()}
            table = _bars_of(connection, names, last_session, own)
            at += len(table.symbol)
            if is_kept:
                tables.append(table)
            yield table
    if room is not None and tables:
        _kept[:] = [(read, (_side_by_side(tables, room),))]


def forget_bar_tables() -> None:
    """Give back the memory of the tables that are kept."""
    _kept.clear()


def name_listings(warehouse: Warehouse, connection: duckdb.DuckDBPyConnection) -> None:
    """Make the table `known_listings` with the rows of the view later_listings, which asks for every bar of the store.

    They are looked up once while the bars stay.
    """
    version = warehouse.path, warehouse.content_version("daily_bars")
    if not (_listings and _listings[0][0] == version):
        _listings[:] = [(version, connection.execute("SELECT * FROM later_listings").df())]
    connection.register("kept_listings", _listings[0][1])
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE known_listings AS "
        "SELECT symbol::VARCHAR AS symbol, listing::BIGINT AS listing, since::DATE AS since, until::DATE AS until "
        "FROM kept_listings"
    )
    connection.unregister("kept_listings")


def find_last_bars(connection: duckdb.DuckDBPyConnection, bars: int, days: int) -> None:
    """Make the table `last_bars_since`: of each symbol a day from which its last `bars` bars lie; tried first: `days` back."""
    given = {"bars": bars, "days": days}
    connection.execute(f"CREATE OR REPLACE TEMP TABLE last_bars_since AS {read_sql(HERE, 'last_bars')}", given)


def _ask_for(connection: duckdb.DuckDBPyConnection, last_bars: int | None, in_panel: bool) -> None:
    """Make the view `asked_bars`: all stored bars, those of the panel, or of each symbol those from its last ones on."""
    asked = "SELECT b.* FROM daily_bars b"
    if in_panel:
        asked += " SEMI JOIN panel_places USING (symbol)"
    if last_bars is not None:
        find_last_bars(connection, last_bars, max(60, last_bars * 2))
        asked += " JOIN last_bars_since s ON s.symbol = b.symbol AND b.session >= s.since"
    connection.execute(f"CREATE OR REPLACE TEMP VIEW asked_bars AS {asked}")


def _parts(counts: Sequence[tuple[str, int]], most: int) -> Iterator[list[str]]:
    """The symbols of each part; counts: the sorted symbols with how many bars they have."""
    part: list[str] = []
    held = 0
    for symbol, count in counts:
        if part and held + count > most:
            yield part
            part, held = [], 0
        part.append(symbol)
        held += count
    if part:
        yield part


def _bars_of(
    connection: duckdb.DuckDBPyConnection, names: Sequence[str], last_session: dt.date | None, room: Room | None
) -> BarTable:
    """The bars of a part of the sorted symbols. room: where their columns are to be written, if it matters."""
    asked = {"names": names, "first": names[0], "last": names[-1], "last_session": last_session}
    columns = connection.execute(read_sql(HERE, "bar_table"), asked).fetchnumpy()
    symbol = np.asarray(columns["symbol"], dtype=np.int32)
    session = np.asarray(columns["session"], dtype="datetime64[D]")
    key = symbol.astype(np.int64) * 2**32 + session.astype(np.int64)
    order = np.argsort(key, kind="stable") if np.any(key[1:] < key[:-1]) else None

    def sorted_(name: str, values: NDArray[Any]) -> NDArray[Any]:
        kind = COLUMNS.get(name, values.dtype)
        into = np.empty(len(values), kind) if room is None or name not in room else room[name][: len(values)]
        if order is None:
            into[:] = values
        else:
            np.take(np.asarray(values, dtype=kind), order, out=into, mode="clip")
        return into

    symbol, listing = sorted_("place", symbol), sorted_("listing", np.asarray(columns["listing"]))
    begins = np.ones(len(symbol), np.bool_)
    begins[1:] = (symbol[1:] != symbol[:-1]) | (listing[1:] != listing[:-1])
    start = np.append(np.flatnonzero(begins), len(symbol))
    return BarTable(
        symbols=tuple(names[place] for place in symbol[begins]),
        start=start.astype(np.int64),
        symbol=(np.cumsum(begins) - 1).astype(np.int32),
        session=sorted_("session", session),
        **{name: sorted_(name, np.asarray(columns[name])) for name in BAR_NUMBERS},
    )


def _side_by_side(tables: Sequence[BarTable], room: Room) -> BarTable:
    """One table of the parts, whose columns lie one after the other in `room`."""
    if len(tables) == 1:
        return tables[0]
    begins = np.cumsum([0, *(len(table.symbols) for table in tables)])
    ends = np.cumsum([0, *(len(table.symbol) for table in tables)])
    starts = [table.start[1:] + end for table, end in zip(tables, ends, strict=False)]
    return BarTable(
        symbols=tuple(name for table in tables for name in table.symbols),
        start=np.concatenate([[0], *starts]).astype(np.int64),
        symbol=np.concatenate([table.symbol + np.int32(begin) for table, begin in zip(tables, begins, strict=False)]),
        **room,
    )
