"""Whose bars are loaded: the symbols of a CSV file, or the vendor's own list of common stocks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kobe_resources.errors import UsageError
from kobe_resources.market_data.polygon_errors import RESUMES, PolygonIncomplete
from kobe_resources.market_data.polygon_rows import Refusal, is_symbol, printable, settled, ticker_rows

if TYPE_CHECKING:
    import pandas as pd

    from kobe_resources.market_data.polygon_client import PolygonClient

COLUMNS = ["symbol", "name", "type", "active"]
TRUE_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def candidates_of_file(path: Path) -> pd.DataFrame:
    """symbol, name, type, active, has_options of a CSV with a `symbol` column; what it lacks is None (active: True).

    Raises UsageError where it cannot be read, has no symbols, or names what is none.
    """
    import pandas as pd

    try:
        # Every cell as text: a reader that guesses makes the tickers NA, NULL and TRUE something else.
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise UsageError(f"data.polygon.candidates cannot be read ({error})", "name a CSV with a `symbol` column") from error
    if "symbol" not in table.columns:
        raise UsageError(f"{path} has no column `symbol`", "name a CSV with a `symbol` column")
    table["symbol"] = table["symbol"].str.strip()
    table = table[table["symbol"] != ""].drop_duplicates("symbol").sort_values("symbol", ignore_index=True)
    wrong = [symbol for symbol in table["symbol"] if not is_symbol(symbol)]
    if wrong:
        raise UsageError(f"{path} names {printable(wrong[0])}, which is no ticker", "mend the file")
    if table.empty:
        raise UsageError(f"{path} names no symbol", "one symbol a line under the header `symbol`")
    texts = {name: table[name].replace("", None) if name in table else None for name in ("name", "type")}
    flags = {name: table[name].map(_flag) if name in table else None for name in ("active", "has_options")}
    active = True if flags["active"] is None else flags["active"].map(lambda flag: flag is not False)
    frame = pd.DataFrame({"symbol": table["symbol"], **texts, "active": active})
    return frame.assign(has_options=flags["has_options"])


def candidates_of_vendor(client: PolygonClient, delisted: bool) -> tuple[pd.DataFrame, tuple[Refusal, ...]]:
    """The vendor's common stocks, those traded now, or with `delisted` those of the past too; and the rows refused.

    Raises PolygonIncomplete where there are none: no market is empty.
    """
    import pandas as pd

    listing = settled(lambda: ticker_rows(client.tickers(active=True)))
    rows, refused = {row[0]: row for row in listing.rows}, listing.refused
    if not rows:
        raise PolygonIncomplete("Polygon lists no common stocks", RESUMES)
    if delisted:
        past = settled(lambda: ticker_rows(client.tickers(active=False)))
        rows = {row[0]: row for row in past.rows} | rows
        refused += past.refused
    frame = pd.DataFrame([rows[symbol] for symbol in sorted(rows)], columns=COLUMNS)
    return frame.assign(has_options=None), refused


def _flag(text: str) -> bool | None:
    return TRUE_WORDS.get(text.strip().lower())
