"""Doubts about the stored bars, weighed: how the checks keep them, and what traded over each of them.

What they say comes from the checks; here they meet the stored universe and trades, for the command and the page alike.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kobe_resources.runtime.sql_files import read_sql
from kobe_resources.warehouse.store import refill

if TYPE_CHECKING:
    import duckdb

    from kobe_resources.warehouse.store import Warehouse

HERE = Path(__file__).parent
WRONG, DISTORTED, LEFT_OUT, INCOMPLETE, HARMLESS = range(5)
"""What a doubt does, the worst first: figures are wrong; may be; are right as something is left out; lack something; none."""
COLUMNS = ("kind", "symbol", "session", "until", "seen", "effect", "mend", "rank", "size")
SHOWN = 100
"""Doubts that the page of the report lists, the worst ones."""
IDLE = 5
"""Added where the symbol may not trade: it moves no figure."""


@dataclass(frozen=True)
class Doubt:
    """One row. symbol: empty where it is about all of them. session, until: the days that it is about, where it is about days.

    rank: the smaller the worse. size: within a rank, the larger the worse. trades, pnl: those of the stored walk-forward that
    were open then, in all modes, and what they made; 0 where there is none, or where none is stored.
    """

    kind: str
    symbol: str
    session: dt.date | None
    until: dt.date | None
    seen: str
    effect: str
    mend: str
    rank: int
    size: float = 0.0
    trades: int = 0
    pnl: float = 0.0


def stored_doubts(warehouse: Warehouse) -> list[Doubt]:
    """The doubts that the last checks of the bars kept, weighed against the stored universe and trades."""
    columns = ", ".join(COLUMNS)
    rows = warehouse.rows(f"SELECT {columns} FROM bar_doubts")  # noqa: S608
    return weighed(warehouse, [Doubt(*row) for row in rows])


def doctor_rows(warehouse: Warehouse) -> dict[str, Any]:
    """The number of stored doubts and the worst of them as plain rows, for the report's page.

    traded_over: "symbol on day" of those that make figures wrong and that stored trades lay over.
    """
    doubts = stored_doubts(warehouse)
    traded = [f"{doubt.symbol} on {doubt.session}" for doubt in doubts if doubt.rank == WRONG and doubt.trades]
    return {"count": len(doubts), "rows": [asdict(doubt) for doubt in doubts[:SHOWN]], "traded_over": traded}


def keep_doubts(connection: duckdb.DuckDBPyConnection, doubts: Sequence[Doubt]) -> None:
    """Replace the kept doubts, in the transaction of the checks that they come from."""
    import pandas as pd

    rows = [tuple(getattr(doubt, name) for name in COLUMNS) for doubt in doubts]
    refill(connection, "bar_doubts", pd.DataFrame(rows, columns=list(COLUMNS), dtype=object))


def weighed(warehouse: Warehouse, doubts: Sequence[Doubt]) -> list[Doubt]:
    """The doubts worst first, with the stored trades that each touched; one of a symbol that may not trade moves no figure."""
    with warehouse.connect():
        listed = warehouse.rows("SELECT symbol, selected FROM universe")
        selected = {symbol for symbol, is_selected in listed if is_selected}
        return with_trades(warehouse, [_idle(doubt) if listed and _rests(doubt, selected) else doubt for doubt in doubts])


def _rests(doubt: Doubt, selected: Collection[str]) -> bool:
    return bool(doubt.symbol) and doubt.symbol not in selected and doubt.rank not in (LEFT_OUT, HARMLESS)


def _idle(doubt: Doubt) -> Doubt:
    return replace(doubt, effect=f"none now: {doubt.symbol} is not in the universe", rank=doubt.rank + IDLE)


def with_trades(warehouse: Warehouse, doubts: Sequence[Doubt]) -> list[Doubt]:
    """The doubts with the stored trades that each touches, worst first: what moved money is worse than what did not."""
    import pandas as pd

    asked = pd.DataFrame(
        [(place, d.symbol, d.session, d.until or d.session) for place, d in enumerate(doubts) if d.symbol and d.session],
        columns=["place", "symbol", "session", "until"],
    )
    if not len(asked):
        return list(doubts)
    with warehouse.connect() as connection:
        connection.register("doubts", asked.astype({"session": "datetime64[s]", "until": "datetime64[s]"}))
        try:
            touched = {row[0]: row[1:] for row in connection.execute(read_sql(HERE, "trades_touched")).fetchall()}
        finally:
            connection.unregister("doubts")
    none = (0, 0.0)
    counted = [
        replace(doubt, trades=touched.get(k, none)[0], pnl=touched.get(k, none)[1] or 0.0) for k, doubt in enumerate(doubts)
    ]
    return sorted(counted, key=by_weight)


def by_weight(doubt: Doubt) -> tuple[Any, ...]:
    return (doubt.rank, -(doubt.trades > 0), -abs(doubt.pnl), -doubt.size, doubt.kind, doubt.symbol, str(doubt.session))
