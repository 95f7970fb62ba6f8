"""Whose bars are loaded: the symbols of a CSV file, or the vendor's own list of common stocks."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from kobe_resources.errors import UsageError
from kobe_resources.market_data.over_network import RESUMES
from kobe_resources.market_data.polygon.errors import PolygonIncomplete
from kobe_resources.market_data.polygon.rows import RefusedRow, is_symbol, printable, stable_read, ticker_rows
from kobe_resources.market_data.symbols import identity

if TYPE_CHECKING:
    import pandas as pd

    from kobe_resources.market_data.polygon.client import PolygonClient

COLUMNS = ["symbol", "name", "type", "active", "has_options"]
FLAGS = ("active", "has_options")
FLAG_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def candidates_of_file(path: Path, setting: str = "data.polygon.candidates") -> pd.DataFrame:
    """symbol, name, type, active, has_options of a CSV with a `symbol` column; what it lacks is None (active: True).

    Symbols are spelled as the vendors spell them: BRK-B, BRK/B and brk.b are BRK.B. setting: names the file. Raises UsageError
    where it cannot be read, has no symbols, or names what is none.
    """
    import pandas as pd

    table = pd.DataFrame(_rows_of(path, setting), columns=COLUMNS, dtype=object)
    table["symbol"] = [identity(symbol) for symbol in table["symbol"]]
    table = table[table["symbol"] != ""].drop_duplicates("symbol").sort_values("symbol", ignore_index=True)
    wrong = [symbol for symbol in table["symbol"] if not is_symbol(symbol)]
    if wrong:
        raise UsageError(f"{path} names {printable(wrong[0])}, which is no ticker", "mend the file")
    if table.empty:
        raise UsageError(f"{path} names no symbol", "one symbol a line under the header `symbol`")
    return table.assign(active=[flag is not False for flag in table["active"]])


def _rows_of(path: Path, setting: str) -> list[list[str | bool | None]]:
    """The cells of a CSV in the order of COLUMNS, blanks around them gone; what is not there is None (a symbol: no text)."""
    rows: list[list[str | bool | None]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            # No reader that guesses: the tickers NA, NULL and TRUE are tickers.
            reader = csv.reader(file, strict=True)
            names = [name.strip().lower() for name in next(reader)]
            if names.count("symbol") != 1:
                raise UsageError(f"{path} has no column `symbol`, or two", "name a CSV with a `symbol` column")
            for cells in reader:
                where = f"{path} line {reader.line_num}"
                if len(cells) > len(names):
                    wide = f"has {len(cells)} cells where the header has {len(names)}"
                    raise UsageError(f"{where}: {wide}", "mend the row's commas")
                by_name = dict(zip(names, map(str.strip, cells), strict=False))
                rows.append([_cell(name, by_name.get(name, ""), where) for name in COLUMNS])
    except (OSError, UnicodeDecodeError, csv.Error, StopIteration) as error:
        why = str(error) or "it is empty"
        raise UsageError(f"{setting} cannot be read ({why})", "name a CSV with a `symbol` column") from error
    return rows


def _cell(name: str, text: str, where: str) -> str | bool | None:
    if name == "symbol":
        return text
    if name in FLAGS and text and text.lower() not in FLAG_WORDS:
        raise UsageError(f"{where}: {name} is {printable(text)!r}, neither true nor false", "write true or false")
    return FLAG_WORDS.get(text.lower()) if name in FLAGS else text or None


def candidates_of_vendor(client: PolygonClient, delisted: bool) -> tuple[pd.DataFrame, tuple[RefusedRow, ...]]:
    """The vendor's common stocks, those traded now, or with `delisted` those of the past too; and the rows refused.

    Raises PolygonIncomplete where there are none: no market is empty.
    """
    import pandas as pd

    listing = stable_read(lambda: ticker_rows(client.tickers(active=True)))
    rows, refused = {row[0]: row for row in listing.rows}, listing.refused
    if not rows:
        raise PolygonIncomplete("Polygon lists no common stocks", RESUMES)
    if delisted:
        past = stable_read(lambda: ticker_rows(client.tickers(active=False)))
        rows = {row[0]: row for row in past.rows} | rows
        refused += past.refused
    return pd.DataFrame([(*rows[symbol], None) for symbol in sorted(rows)], columns=COLUMNS), refused
