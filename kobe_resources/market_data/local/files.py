"""Own bars from a folder: bars.parquet or bars.csv, and beside it, if there, splits.csv, dividends.csv, candidates.csv.

Everything is checked before anything is stored (see `tabular`); a file that breaks one rule is refused as a whole.
Row order means nothing. Without candidates.csv every symbol with bars is a candidate, and it is unknown which have options.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from kobe_resources.market_data.local.base import LocalVendor, within_span
from kobe_resources.market_data.local.tabular import TRUE_VALUE, BadFile, Column, Rule, read_table
from kobe_resources.market_data.store import Load

if TYPE_CHECKING:
    import pandas as pd

BARS = (
    Column("symbol", "symbol"),
    Column("session", "date"),
    Column("open", "price"),
    Column("high", "price"),
    Column("low", "price"),
    Column("close", "price"),
    Column("volume", "volume"),
    Column("vwap", "number", required=False),
    Column("trades", "count", required=False),
)
BAR_RULES = (
    Rule("high < low", "high {high} is below low {low}", TRUE_VALUE),
    Rule(
        "high < greatest(open, close)",
        "high {high} is below open {open} or close {close}",
        TRUE_VALUE,
    ),
    Rule("low > least(open, close)", "low {low} is above open {open} or close {close}", TRUE_VALUE),
)
SPLITS = (
    Column("symbol", "symbol"),
    Column("execution_date", "date"),
    Column("split_from", "ratio"),
    Column("split_to", "ratio"),
)
DIVIDENDS = (
    Column("symbol", "symbol"),
    Column("ex_date", "date"),
    Column("amount", "ratio"),
    Column("kind", "text", required=False),
    Column("pay_date", "date", required=False),
)
CANDIDATES = (
    Column("symbol", "symbol"),
    Column("has_options", "flag", required=False),
    Column("name", "text", required=False),
    Column("type", "text", required=False),
    Column("active", "flag", required=False),
)
WANTED = "symbol, session, open, high, low, close, volume"


class FilesVendor(LocalVendor):
    """The files that data.files.path names."""

    name = "files"

    def fingerprint(self) -> str:
        """A hash of the files' content and the span; where they lie does not count."""
        digest = hashlib.sha256(repr((self.data.start, self.data.end)).encode())
        bars = bars_file(self.data.files.path)
        dividends = bars.parent / "dividends.csv"
        beside = [bars.parent / "splits.csv", bars.parent / "candidates.csv", *([dividends] if dividends.exists() else [])]
        for path in (bars, *beside):
            digest.update(f"{path.suffix}:{_file_hash(path) if path.exists() else None}".encode())
        return digest.hexdigest()

    def read(self) -> Load:
        """The files' rows, checked. Raises BadFile."""
        import pandas as pd

        path = bars_file(self.data.files.path)
        bars = read_table(path, BARS, BAR_RULES, key=("symbol", "session"))
        if not len(bars):
            raise BadFile(f"{path} holds no bars", f"it needs rows of {WANTED}")
        bars = within_span(bars, self.data)
        splits_path, candidates_path = path.parent / "splits.csv", path.parent / "candidates.csv"
        splits = read_table(splits_path, SPLITS) if splits_path.exists() else _no_rows(SPLITS)
        dividends_path = path.parent / "dividends.csv"
        dividends = read_table(dividends_path, DIVIDENDS) if dividends_path.exists() else None
        if candidates_path.exists():
            candidates = read_table(candidates_path, CANDIDATES, key=("symbol",))
            if not len(candidates):
                raise BadFile(f"{candidates_path} names no candidates", "list the symbols that may trade, or remove the file")
        else:
            candidates = pd.DataFrame({"symbol": bars["symbol"].unique()})
        options = candidates.reindex(columns=["symbol", "has_options"]).dropna()
        return Load(bars, splits, candidates.drop(columns="has_options", errors="ignore"), options, dividends)


def bars_file(path: Path) -> Path:
    """The bars file that `path` is, or holds. Raises BadFile where there is none, or more than one."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise BadFile(f"{path} does not exist", f"set data.files.path to a bars.csv or bars.parquet ({WANTED})")
    found = [path / name for name in ("bars.parquet", "bars.csv") if (path / name).is_file()]
    if not found:
        raise BadFile(f"{path} holds neither bars.csv nor bars.parquet", f"put one there ({WANTED})")
    if len(found) > 1:
        raise BadFile(f"{path} holds both bars.csv and bars.parquet", "name one of them in data.files.path")
    return found[0]


def _file_hash(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise BadFile(f"{path} cannot be read ({error.strerror})", "check the file's permissions") from None


def _no_rows(columns: tuple[Column, ...]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({column.name: [] for column in columns})
