"""What an import left out, as it stands beside the bars that it wrote: so that checks, doctor and page know of it too."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

if TYPE_CHECKING:
    from kobe_resources.market_data.local.companies import AsideRow

SET_ASIDE = "set_aside.csv"
"""The file's name; it is written by the import alone."""
COLUMNS = ("file", "place", "symbol", "session", "reason")


def left_out_by_import(folder: Path) -> list[AsideRow]:
    """The rows and files that `kobe bars import` did not write into the folder's bars; none without its list."""
    path = folder / SET_ASIDE
    if not path.is_file():
        return []
    query = (
        f"SELECT {', '.join(COLUMNS)} FROM read_csv(?, all_varchar = true, header = true, "  # noqa: S608
        "delim = ',', quote = '\"', auto_detect = true)"
    )
    try:
        with duckdb.connect() as connection:
            rows = connection.execute(query, [str(path)]).fetchall()
    except duckdb.Error:
        return [("", None, f"{SET_ASIDE} is not as the import wrote it, and says nothing", None, {"file": SET_ASIDE})]
    return [_row(dict(zip(COLUMNS, row, strict=True))) for row in rows]


def _row(cells: dict[str, str | None]) -> AsideRow:
    number = re.search(r"\d+", cells["place"] or "")
    named = f"{cells['file']} " if not cells["symbol"] else ""
    reason = f"import: {named}{cells['reason']}"
    return cells["symbol"] or "", _day(cells["session"]), reason, int(number[0]) if number else None, dict(cells)


def _day(text: str | None) -> str | None:
    try:
        return dt.date.fromisoformat(text or "").isoformat()
    except ValueError:
        return None
