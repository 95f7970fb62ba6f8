"""Folders of own bars as tests write them, and their vendor."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import duckdb

from kobe_resources.market_data.local.files import FilesVendor
from kobe_resources.settings.models import DataSettings, FilesData

HEADER = "symbol,session,open,high,low,close,volume"
GOOD = "A,2020-01-02,10,11,9,10.5,1000"
NEXT = "A,2020-01-03,10,11,9,10.5,1000"
SPLITS_HEADER = "symbol,execution_date,split_from,split_to\n"
DAY1, DAY2 = dt.date(2020, 1, 2), dt.date(2020, 1, 3)


def vendor(path: Path, **span: dt.date) -> FilesVendor:
    """The vendor of the file or folder at `path`. span: `start` and `end` of the settings."""
    return FilesVendor(DataSettings(vendor="files", files=FilesData(path=path), **span))  # type: ignore[arg-type]


def write(folder: Path, *lines: str, name: str = "bars.csv", end: str = "\n", **also: str) -> Path:
    """The folder with these lines in the file `name`, and `also`: stem → text of other CSV files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes((end.join(lines) + end).encode())
    for stem, text in also.items():
        (folder / f"{stem}.csv").write_text(text, encoding="utf-8")
    return folder


def write_parquet(folder: Path, select: str) -> Path:
    """The folder with the rows of a query as bars.parquet."""
    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.sql(select).write_parquet(str(folder / "bars.parquet"))
    return folder


def parquet_row(**columns: str) -> str:
    """SQL for one sound bar with some columns' SQL replaced."""
    sound = {"symbol": "'A'", "session": "DATE '2020-01-02'", "open": "10", "high": "11.0", "low": "9", "close": "10.5"}
    return "SELECT " + ", ".join(f"{sql} AS {name}" for name, sql in {**sound, "volume": "1000", **columns}.items())
