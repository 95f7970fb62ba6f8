"""Stored bars as flat arrays, sorted by symbol and session, for the checks that look along a symbol's bars.

They are those of the research panel where the bars make one, since it is kept. Where they do not, they are whatever the
store holds, repeated bars included: the readers look for what is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kobe_assets.graph.inputs import NoPanel, load_panel
from kobe_assets.research.panel import ROW_FACTOR
from kobe_resources.runtime.sql_files import read_sql

if TYPE_CHECKING:
    import duckdb

    from kobe_resources.warehouse.store import Warehouse


HERE = Path(__file__).parent
PRICES = ("open", "high", "low", "close", "volume", "factor")


@dataclass(frozen=True)
class BarTable:
    """All stored bars.

    symbols: sorted names, of listings where the bars make a panel.
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

    @property
    def follows(self) -> NDArray[np.bool_]:
        """(bars − 1) true where bar i + 1 is of the same symbol as bar i."""
        name = np.cumsum([a != b for a, b in zip(self.symbols, (None, *self.symbols[:-1]), strict=True)])[self.symbol]
        same: NDArray[np.bool_] = name[1:] == name[:-1]
        return same


def read_bar_table(warehouse: Warehouse) -> BarTable:
    """All bars of the store; an empty table where there are none."""
    try:
        panel = load_panel(warehouse)
    except NoPanel:
        with warehouse.connect() as connection:
            return _bars_as_they_are(connection)
    return BarTable(
        symbols=panel.symbols,
        start=panel.start,
        symbol=panel.symbol,
        session=panel.sessions[panel.session],
        open=panel.open,
        high=panel.high,
        low=panel.low,
        close=panel.close,
        volume=panel.volume,
        factor=panel.rows[:, ROW_FACTOR],
    )


def _bars_as_they_are(connection: duckdb.DuckDBPyConnection) -> BarTable:
    symbols = tuple(row[0] for row in connection.execute("SELECT DISTINCT symbol FROM daily_bars ORDER BY symbol").fetchall())
    columns = connection.execute(read_sql(HERE, "bar_table")).fetchnumpy()
    symbol = np.asarray(columns["symbol"], dtype=np.int32)
    session = np.asarray(columns["session"], dtype="datetime64[D]")
    key = symbol.astype(np.int64) * 2**32 + session.astype(np.int64)
    if np.any(key[1:] < key[:-1]):
        order = np.argsort(key, kind="stable")
        symbol, session = symbol[order], session[order]
        columns = {name: np.asarray(columns[name])[order] for name in PRICES}
    return BarTable(
        symbols=symbols,
        start=np.searchsorted(symbol, np.arange(len(symbols) + 1)),
        symbol=symbol,
        session=session,
        **{name: np.asarray(columns[name], dtype=np.float64) for name in PRICES},
    )
