"""The warehouse for people at a notebook: tables as DataFrames, out-of-sample returns as a Series. It reads and never writes.

`from kobe_resources import open_warehouse`. Every call opens the file, reads and closes it, so that runs are not held up;
what it gives is a copy. Sessions are naive datetime64 (midnight), prices dollars. Values reach SQL as parameters only.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from kobe_resources.errors import KobeError, UsageError
from kobe_resources.warehouse.store import Warehouse, quoted

if TYPE_CHECKING:
    import pandas as pd

Day = str | dt.date
Symbols = str | Sequence[str] | None


LEDGER_ROWS = {"positions": "positions", "orders": "intents", "fills": "fills JOIN intents i USING (client_order_id)"}
ACCOUNT = {"positions": "account", "orders": "account", "fills": "fills.account"}
ROWID = {"positions": "rowid", "orders": "rowid", "fills": "fills.rowid"}
LEDGER_COLUMNS = {
    "positions": (
        "account", "strategy", "symbol", "side", "signal_session", "entry_session", "entry_qty", "entry_price", "qty",
        "stop_price", "bars_held", "flag", "exit_session", "exit_qty",
        "CASE WHEN CAST(exit_qty AS REAL) > 0 THEN CAST(exit_value AS REAL) / CAST(exit_qty AS REAL) END AS exit_price",
        "exit_reason",
        "CASE WHEN CAST(exit_qty AS REAL) > 0 THEN (CASE side WHEN 'long' THEN 1 ELSE -1 END)"
        " * (CAST(exit_value AS REAL) - CAST(exit_qty AS REAL) * CAST(entry_price AS REAL)) END AS realised",
        "is_open", "id",
    ),
    "orders": (
        "account", "strategy", "session", "signal_session", "symbol", "side", "leg", "kind", "time_in_force", "qty",
        "limit_price", "stop_price", "state", "reason", "detail", "filled_qty", "filled_avg_price", "client_order_id",
    ),
    "fills": (
        "fills.account AS account", "i.strategy AS strategy", "fills.session AS session", "fills.symbol AS symbol",
        "fills.side AS side", "i.leg AS leg", "fills.qty AS qty", "fills.price AS price", "i.stop_price AS stop_price",
        "fills.at AS at", "client_order_id",
    ),
}  # fmt: skip
LEDGER_NUMBERS = {
    "entry_qty", "entry_price", "qty", "stop_price", "exit_qty", "exit_price", "limit_price", "filled_qty",
    "filled_avg_price", "price", "realised",
}  # fmt: skip
"""Kept as text in the ledger, to the last digit; a notebook reckons with floats."""


class NothingStored(KobeError):
    """The warehouse, or the rows asked for, are not there."""


def open_warehouse(path: str | Path | None = None) -> Tables:
    """The warehouse at `path` (default: kobe.duckdb in KOBE_HOME) for reading. Raises NothingStored where there is none."""
    warehouse = Warehouse(Path(path).expanduser() if path else None, read_only=True)
    if not warehouse.path.is_file():
        raise NothingStored(f"there is no warehouse at {warehouse.path}", "run `kobe report`, or set KOBE_HOME")
    return Tables(warehouse)


class Tables:
    """The stored tables; each method gives a DataFrame in the order of its keys.

    symbols: one, several or all (None). start, end: sessions, both included; None leaves that side open.
    """

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def __repr__(self) -> str:
        return f"<Kobe warehouse {self._warehouse.path}>"

    def names(self) -> list[str]:
        """The tables and views there are."""
        sql = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main' ORDER BY table_name"
        return [row[0] for row in self._warehouse.rows(sql)]

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> pd.DataFrame:
        """Any SELECT; `?` stands for the parameters. Another statement raises UsageError: `COPY … TO` writes a file."""
        import duckdb

        if any(statement.type is not duckdb.StatementType.SELECT for statement in duckdb.extract_statements(sql)):
            mend = "write it as a SELECT; a PIVOT is one where it names its columns (ON … IN (…)), and .to_csv() writes a file"
            raise UsageError("a query reads, and this statement is no SELECT", mend)
        return self._warehouse.frame(sql, list(parameters))

    def daily_bars(self, symbols: Symbols = None, start: Day | None = None, end: Day | None = None) -> pd.DataFrame:
        """Bars as traded (raw)."""
        return self._bars("daily_bars", symbols, start, end)

    def adjusted_bars(self, symbols: Symbols = None, start: Day | None = None, end: Day | None = None) -> pd.DataFrame:
        """Bars adjusted for splits, with the factor."""
        return self._bars("adjusted_bars", symbols, start, end)

    def indicators(self, symbols: Symbols = None, start: Day | None = None, end: Day | None = None) -> pd.DataFrame:
        """rsi2, sma200, atr14, ibs and what own strategies declare, of each bar."""
        return self._bars("indicators", symbols, start, end)

    def splits(self, symbols: Symbols = None) -> pd.DataFrame:
        """Splits, each with its execution date."""
        return self._select("splits", ("symbol", "execution_date"), [_among("symbol", symbols)])

    def universe(self) -> pd.DataFrame:
        """Every candidate with its evidence, the selected ones by rank first."""
        return self._select("universe", ("rank", "symbol"), [])

    def signals(self, strategy: str | None = None, start: Day | None = None, end: Day | None = None) -> pd.DataFrame:
        """Signals in the order they would trade: session, score, symbol."""
        limits = [_equal("strategy", strategy), *_between("session", start, end)]
        return self._select("signals", ("strategy", "session", "score", "symbol"), limits)

    def folds(self, strategy: str | None = None, mode: str | None = None) -> pd.DataFrame:
        """Folds with their windows, parameters and figures."""
        return self._of("wf_folds", ("strategy", "mode", "fold"), strategy, mode)

    def trades(self, strategy: str | None = None, mode: str | None = None) -> pd.DataFrame:
        """Out-of-sample trades."""
        return self._of("wf_trades", ("strategy", "mode", "fold", "entry_session", "symbol"), strategy, mode)

    def equity(self, strategy: str | None = None, mode: str | None = None) -> pd.DataFrame:
        """Equity and daily return of each test window; every window starts flat with the initial cash."""
        return self._of("wf_equity", ("strategy", "mode", "session"), strategy, mode)

    def trials(self, strategy: str | None = None) -> pd.DataFrame:
        """Every parameter set ever tried on a fold."""
        return self._select("wf_trials", ("strategy", "fold", "trial", "recorded_at"), [_equal("strategy", strategy)])

    def kpis(self, strategy: str | None = None, mode: str | None = None) -> pd.DataFrame:
        """Figures of the chained out-of-sample curves, a row each."""
        return self._of("kpis", ("strategy", "mode", "figure"), strategy, mode)

    def positions(self, stage: str | None = None, open_only: bool = False) -> pd.DataFrame:
        """Positions of the order ledger beside the warehouse, oldest first, open ones with no exit; prices as traded."""
        return self._of_ledger("positions", stage, "is_open = 1" if open_only else "true")

    def orders(self, stage: str | None = None, session: Day | None = None) -> pd.DataFrame:
        """Every order that was decided, refused ones with the reason, oldest first."""
        where = "true" if session is None else "session = :session"
        return self._of_ledger("orders", stage, where, None if session is None else str(session))

    def fills(self, stage: str | None = None) -> pd.DataFrame:
        """Fills with the open of their session as traded, and `slippage_bps`, the basis points that they were dearer.

        Dearer than the level of the stop where a stop was filled, else than the open.
        """
        frame = self._of_ledger("fills", stage, "true")
        opens = self._warehouse.frame("SELECT symbol, session, open FROM daily_bars WHERE symbol IN (SELECT unnest(?))", [
            sorted(set(frame["symbol"]))
        ])  # fmt: skip
        opens["session"] = opens["session"].astype(frame["session"].dtype)
        frame = frame.merge(opens, on=["symbol", "session"], how="left")
        dearer = frame["side"].map({"buy": 1.0, "sell": -1.0})
        reference = frame["stop_price"].where(frame["leg"].str.startswith("stop"), frame["open"])
        frame["slippage_bps"] = dearer * (frame["price"] / reference - 1.0) * 1e4
        return frame

    def returns(self, strategy: str, mode: str = "canonical") -> pd.Series[float]:
        """Out-of-sample daily returns of all folds in a row: naive DatetimeIndex, ready for quantstats and pyfolio.

        After one of -1 they are 0: what is lost earns nothing.
        Raises NothingStored where strategy or mode has no folds.
        """
        import pandas as pd

        curve = self.equity(strategy, mode)
        if curve.empty:
            raise NothingStored(f"there are no folds of {strategy!r}, mode {mode!r}", "see .folds(), or run `kobe report`")
        days = pd.DatetimeIndex(curve["session"], name="session").as_unit("ns")
        returns = pd.Series(curve["daily_return"].to_numpy(dtype=float), index=days, name=f"{strategy} {mode}")
        return returns.mask((returns <= -1.0).cummax().shift(fill_value=False), 0.0)

    def _of_ledger(self, table: str, stage: str | None, where: str, session: str | None = None) -> pd.DataFrame:
        """Rows of the ledger; shares and prices as floats, sessions as datetime64. Raises NothingStored where there is none."""
        import sqlite3

        import pandas as pd

        path = self._warehouse.path.with_name("orders.sqlite")
        if not path.is_file():
            raise NothingStored(f"nothing was traded beside {self._warehouse.path}", "run `kobe trade`")
        sql = (
            f"SELECT {', '.join(LEDGER_COLUMNS[table])} FROM {LEDGER_ROWS[table]}"  # noqa: S608
            f" WHERE {where} AND (:stage IS NULL OR {ACCOUNT[table]} LIKE :stage || ':%') ORDER BY {ROWID[table]}"
        )
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as ledger:
            frame = pd.read_sql_query(sql, ledger, params={"stage": stage, "session": session})
        for name in frame.columns:
            if name.endswith("session"):
                frame[name] = pd.to_datetime(frame[name])
            elif name in LEDGER_NUMBERS:
                frame[name] = pd.to_numeric(frame[name])
        return frame

    def _bars(self, table: str, symbols: Symbols, start: Day | None, end: Day | None) -> pd.DataFrame:
        return self._select(table, ("symbol", "session"), [_among("symbol", symbols), *_between("session", start, end)])

    def _of(self, table: str, order: tuple[str, ...], strategy: str | None, mode: str | None) -> pd.DataFrame:
        return self._select(table, order, [_equal("strategy", strategy), _equal("mode", mode)])

    def _select(self, table: str, order: tuple[str, ...], limits: list[tuple[str, Any] | None]) -> pd.DataFrame:
        """Rows of `table` within `limits`: (SQL with one `?`, its value) each; names are this file's own, never a caller's."""
        set_limits = [limit for limit in limits if limit is not None]
        where = " AND ".join(sql for sql, _ in set_limits) or "true"
        by = ", ".join(f"{quoted(name)} NULLS LAST" for name in order)
        sql = f"SELECT * FROM {quoted(table)} WHERE {where} ORDER BY {by}"  # noqa: S608
        return self._warehouse.frame(sql, [value for _, value in set_limits])


def _equal(column: str, value: str | None) -> tuple[str, Any] | None:
    return None if value is None else (f"{quoted(column)} = ?", value)


def _among(column: str, symbols: Symbols) -> tuple[str, Any] | None:
    if symbols is None:
        return None
    return f"{quoted(column)} IN (SELECT unnest(?::VARCHAR[]))", [symbols] if isinstance(symbols, str) else list(symbols)


def _between(column: str, start: Day | None, end: Day | None) -> list[tuple[str, Any] | None]:
    return [
        None if start is None else (f"{quoted(column)} >= ?::DATE", str(start)),
        None if end is None else (f"{quoted(column)} <= ?::DATE", str(end)),
    ]
