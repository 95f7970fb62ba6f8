"""What the store knew and when: revisions, and bars and splits as of a past moment.

Trusts that bars entered through `store`; an edit made in the file by hand is taken for having always been there.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from kobe_resources.errors import reason_of
from kobe_resources.market_data.changes import sql
from kobe_resources.market_data.protocol import MarketDataError
from kobe_resources.market_data.store import current_source
from kobe_resources.runtime.csv_cells import safe_cell
from kobe_resources.warehouse.store import quoted

ALWAYS = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
SHOWN_SYMBOLS = 5
DATES = ("session", "execution_date", "ex_date", "pay_date")

if TYPE_CHECKING:
    import pandas as pd

    from kobe_resources.warehouse.store import Warehouse


def revisions(warehouse: Warehouse, symbol: str | None = None) -> pd.DataFrame:
    """`bar_revisions`, newest first: symbol, session, field, old, new, seen_at; of one symbol, or of all."""
    return warehouse.frame(
        "SELECT symbol, session, field, old, new, seen_at FROM bar_revisions "
        "WHERE $symbol IS NULL OR symbol = $symbol ORDER BY seen_at DESC, symbol, session, field",
        {"symbol": symbol},
    )


def describe_revisions(
    warehouse: Warehouse, since: dt.datetime = ALWAYS, symbol: str | None = None, most: int = SHOWN_SYMBOLS
) -> list[str]:
    """What loads since a moment (aware) restated and took back, a line a symbol, the most first; then of splits, dividends."""
    rows = warehouse.frame(sql("revised_bars"), {"since": since, "symbol": symbol, "most": most}).to_dict(orient="records")
    lines = []
    for row in rows:
        by = f" by {row['factor']:.4g}" if row["one_factor"] else ""
        parts = [f"{row['restated']:,} bars of {row['symbol']} restated{by}"] if row["restated"] else []
        parts += [f"{row['taken_back']:,} bars of {row['symbol']} taken back"] if row["taken_back"] else []
        lines.append(", ".join(parts))
    more = int(rows[0]["symbols"]) - len(rows) if rows else 0
    lines += [f"and bars of {more:,} more symbols: see `kobe bars revisions`"] if more else []
    with warehouse.connect() as connection:
        actions = connection.execute(sql("revised_actions"), {"since": since, "symbol": symbol}).fetchall()
    lines += [f"{rows:,} {what} of {name} {change}" for what, change, name, rows in actions[:most]]
    left = sum(rows for *_, rows in actions[most:])
    return [*lines, f"and {left:,} more splits and dividends of other symbols"] if left else lines


def bars_as_of(warehouse: Warehouse, moment: dt.datetime) -> pd.DataFrame:
    """The raw bars as they stood at `moment` (aware), in the columns of bars.csv, with vwap and trades.

    Raises MarketDataError for a moment before the store's source was first loaded.
    """
    return _as_of(warehouse, "bars_as_of", moment)


def splits_as_of(warehouse: Warehouse, moment: dt.datetime) -> pd.DataFrame:
    """The splits as they stood at `moment` (aware). Raises MarketDataError as `bars_as_of`."""
    return _as_of(warehouse, "splits_as_of", moment)


def dividends_as_of(warehouse: Warehouse, moment: dt.datetime) -> pd.DataFrame:
    """The dividends as they stood at `moment` (aware). Raises MarketDataError as `bars_as_of`."""
    return _as_of(warehouse, "dividends_as_of", moment)


def _as_of(warehouse: Warehouse, query: str, moment: dt.datetime) -> pd.DataFrame:
    if moment.tzinfo is None:
        raise MarketDataError(f"{moment} has no time zone", "give it one, as in 2024-05-01T22:00:00+00:00")
    with warehouse.connect() as connection:
        source = current_source(connection)
        if source is None or moment < source[1]:
            held = f"the store holds {source[0]} since {source[1]:%Y-%m-%dT%H:%M:%S%z}" if source else "the store is empty"
            raise MarketDataError(f"nothing is known about {moment:%Y-%m-%dT%H:%M:%S%z}: {held}", "give a later moment")
        return connection.execute(sql(query), {"moment": moment}).df()


def export_as_of(warehouse: Warehouse, moment: dt.datetime, folder: Path, bars_file: str = "bars.parquet") -> int:
    """Write the bars, splits and dividends as of `moment` (aware) as the vendor `files` reads them; how many bars.

    bars_file (.parquet or .csv) and splits.csv; dividends.csv where there are some; candidates.csv where it says more than
    the bars do, with today's candidates: who they were then is not kept. Raises MarketDataError as `bars_as_of`, or where the
    folder cannot be written or already holds one of the files.
    """
    bars = bars_as_of(warehouse, moment)
    frames = {bars_file: bars, "splits.csv": splits_as_of(warehouse, moment)}
    dividends = dividends_as_of(warehouse, moment)
    if len(dividends):
        frames["dividends.csv"] = dividends
    candidates = warehouse.frame(
        "SELECT c.symbol, any_value(o.has_options) AS has_options FROM candidates c "
        "LEFT JOIN option_evidence o USING (symbol) GROUP BY c.symbol ORDER BY c.symbol"
    )
    # A file that says nothing would still make `files` ask for options.
    if candidates["has_options"].notna().any() or set(candidates["symbol"]) != set(bars["symbol"]):
        frames["candidates.csv"] = candidates
    # The file is read by Kobe, which would take an apostrophe for a part of the symbol.
    odd = next((symbol for symbol in candidates["symbol"] if safe_cell(symbol) != symbol), None)
    odd = odd or next((symbol for symbol in frames["splits.csv"]["symbol"] if safe_cell(symbol) != symbol), None)
    odd = odd or next((symbol for symbol in dividends["symbol"] if safe_cell(symbol) != symbol), None)
    if odd is not None:
        raise MarketDataError(f"a spreadsheet would run the symbol {odd!r} as a formula", "rename it in the source of bars")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in frames:
            if (folder / name).exists():
                raise MarketDataError(f"{folder / name} is there already", "name an empty folder")
        for name, frame in frames.items():
            _write(frame, folder / name)
    except (OSError, duckdb.IOException) as error:
        hint = "see that the disk has room, or name another folder"
        raise MarketDataError(f"{folder} cannot be written ({reason_of(error)})", hint) from error
    return len(bars)


def _write(frame: pd.DataFrame, path: Path) -> None:
    with duckdb.connect() as connection:
        connection.register("exported", frame)
        days = ", ".join(f"{quoted(name)}::DATE AS {quoted(name)}" for name in DATES if name in frame)
        select = f"SELECT * REPLACE ({days}) FROM exported" if days else "SELECT * FROM exported"  # noqa: S608
        rows = connection.sql(select)
        write = rows.write_parquet if path.suffix == ".parquet" else rows.write_csv
        write(str(path))
