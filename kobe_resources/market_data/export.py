"""Stored bars as one file for another program: CSV or Parquet, as traded or adjusted for splits."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Sequence
from pathlib import Path

import duckdb

from kobe_resources.errors import UsageError, reason_of
from kobe_resources.market_data.changes import sql
from kobe_resources.market_data.protocol import MarketDataError
from kobe_resources.runtime.csv_cells import safe_cell
from kobe_resources.warehouse.store import Warehouse

FORMATS = (".csv", ".parquet")


def export_bars(
    warehouse: Warehouse,
    path: Path,
    symbols: Sequence[str] = (),
    start: dt.date | None = None,
    end: dt.date | None = None,
    adjusted: bool = False,
) -> int:
    """Write the bars of the symbols (none: all) from `start` to `end` into the file; how many, sorted by symbol and session.

    adjusted: prices and volume for splits, with the factor; else raw, as they were traded.
    The file appears whole or not at all. Raises UsageError on another ending than .csv or .parquet, or a symbol without
    bars; MarketDataError where the file cannot be written.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path} ends neither in .csv nor in .parquet", "name a file that does")
    draft = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix.lower()}")
    wanted = {"symbols": list(symbols), "start": start, "end": end}
    with warehouse.connect() as connection:
        known = {name for (name,) in connection.execute("SELECT DISTINCT symbol FROM daily_bars").fetchall()}
        if unknown := sorted(set(symbols) - known):
            raise UsageError(f"{unknown[0]} has no stored bars", "`kobe universe show` lists the symbols")
        odd = next((name for name in symbols or sorted(known) if safe_cell(name) != name), None)
        if odd is not None and path.suffix.lower() == ".csv":
            raise UsageError(f"a spreadsheet would run the symbol {odd!r} as a formula", "write Parquet, or leave it out")
        rows = connection.sql(sql("export_adjusted" if adjusted else "export_raw"), params=wanted)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            (rows.write_csv if path.suffix.lower() == ".csv" else rows.write_parquet)(str(draft))
            count = len(rows)
            draft.replace(path)
        except (OSError, duckdb.IOException) as error:
            hint = "see that the disk has room, or name another file"
            raise MarketDataError(f"{path} cannot be written ({reason_of(error)})", hint) from error
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
    return count
