"""Stored bars as one file for another program: CSV or Parquet, as traded or adjusted for splits."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Collection, Sequence
from pathlib import Path

import duckdb

from kobe_resources.errors import UsageError, did_you_mean, reason_of
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
    The file appears whole or not at all. Raises UsageError on another ending than .csv or .parquet, a symbol or a window
    without bars; MarketDataError where the file cannot be written.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path} ends neither in .csv nor in .parquet", "name a file that does")
    draft = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix.lower()}")
    wanted = {"symbols": list(symbols), "start": start, "end": end}
    with warehouse.connect() as connection:
        known = {name for (name,) in connection.execute("SELECT DISTINCT symbol FROM daily_bars").fetchall()}
        refuse_unknown(symbols, known)
        odd = next((name for name in symbols or sorted(known) if safe_cell(name) != name), None)
        if odd is not None and path.suffix.lower() == ".csv":
            raise UsageError(f"a spreadsheet would run the symbol {odd!r} as a formula", "write Parquet, or leave it out")
        rows = connection.sql(sql("export_adjusted" if adjusted else "export_raw"), params=wanted)
        if not (count := len(rows)):
            raise UsageError(
                "no stored bar lies in that window", "name another: `kobe universe show` says which sessions there are"
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            (rows.write_csv if path.suffix.lower() == ".csv" else rows.write_parquet)(str(draft))
            draft.replace(path)
        except (OSError, duckdb.IOException) as error:
            hint = "see that the disk has room, or name another file"
            raise MarketDataError(f"{path} cannot be written ({reason_of(error)})", hint) from error
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
    return count


def refuse_unknown(symbols: Collection[str], known: Collection[str]) -> None:
    """Raise UsageError for the first symbol that is not among the `known`, those of the stored bars."""
    if unknown := sorted(set(symbols) - set(known)):
        raise UsageError(
            f"{unknown[0]} has no stored bars{did_you_mean(unknown[0], known)}", "`kobe universe show` lists the symbols"
        )
