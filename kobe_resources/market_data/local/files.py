"""Own bars from a folder: bars.parquet or bars.csv, and beside it, if there, splits.csv, dividends.csv, candidates.csv.

Everything is checked before anything is stored (see `tabular`): a row that cannot be true is set aside and named; a file with
too many of them, or of another shape, is refused as a whole.
Row order means nothing. Without candidates.csv every symbol with bars is a candidate, and it is unknown which have options.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kobe_resources.market_data.changes import Load
from kobe_resources.market_data.importing.recognition import factored_row, files_to_import
from kobe_resources.market_data.local.base import LocalVendor
from kobe_resources.market_data.local.columns import (
    DATES,
    DOLLARS,
    EARLIEST,
    LATEST,
    MOST_RATIO,
    TRUE_VALUE,
    BadFile,
    Column,
    Rule,
)
from kobe_resources.market_data.local.companies import SAME_HISTORY, AsideRow, in_capitals, one_name_each, spelled_as
from kobe_resources.market_data.local.dividends import exact_ones, paid_ones
from kobe_resources.market_data.local.imported import SET_ASIDE, left_out_by_import
from kobe_resources.market_data.local.tabular import ReadTable, read_table
from kobe_resources.market_data.set_aside import aside_rows

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
    Column("currency", "text", required=False),
)
NO_DOLLARS = f"lower(trim(coalesce(currency, ''))) NOT IN ({', '.join(repr(word) for word in DOLLARS)})"
ROUNDING = 1e-6
"""Share of the price by which an open or a close may lie outside high and low: they are widened."""
WITHIN = f"(1 + {ROUNDING})"
BAR_RULES = (
    Rule(f"high * {WITHIN} < low", "high {high} is below low {low}", TRUE_VALUE),
    Rule(f"high * {WITHIN} < greatest(open, close)", "high {high} is below open {open} or close {close}", TRUE_VALUE),
    Rule(f"low > least(open, close) * {WITHIN}", "low {low} is above open {open} or close {close}", TRUE_VALUE),
    Rule(NO_DOLLARS, "the prices are in {currency}, not in dollars", "give prices in dollars", column="currency"),
)
ADJUSTED_SHARE = 0.8
"""Share of the bad rows with a close under the low, or over the high, from which the close is another series than the rest."""
LIKE_COMPANIONS = re.compile(
    r"(?i)(.*[-_ .()0-9])?(bars?|splits?|dividends?|candidates?|(corporate[-_ ]?)?actions?|options?|spin[-_ ]?offs?|mergers?)"
    r"([-_ ()0-9]*|[-_ .()0-9].*\.(csv|txt|tsv|xlsx?|parquet|pq|json|gz|zip))(\.(csv|txt|tsv|xlsx?|parquet|pq|json|gz|zip))*"
)
SHOWN_NAMES = 5
FEW_ACTIONS = 3
"""Rows of splits or dividends that may all be bad: one company's are no reason to refuse the others' bars."""
COMPANIONS = ("splits.csv", "candidates.csv", "dividends.csv")
SPLITS = (
    Column("symbol", "symbol"),
    Column("execution_date", "date"),
    Column("split_from", "ratio"),
    Column("split_to", "ratio"),
)
SPLIT_RULES = (
    Rule(
        f"greatest(split_to / split_from, split_from / split_to) > {MOST_RATIO}",
        "{split_from} to {split_to} is more than any split",
        TRUE_VALUE,
        fatal=True,
    ),
)
DIVIDENDS = (
    Column("symbol", "symbol"),
    Column("ex_date", "date"),
    Column("amount", "price"),
    Column("kind", "text", required=False),
    Column("pay_date", "date", required=False),
    Column("currency", "text", required=False),
)
DIVIDEND_RULES = (
    Rule(
        NO_DOLLARS,
        "the amount is in {currency}, not in dollars",
        "give dollars a share",
        column="currency",
    ),
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
        files = self.data.files
        digest = hashlib.sha256(repr((self.data.start, self.data.end, files.max_bad_rows)).encode())
        bars = bars_file(files.path)
        for path in (bars, *(companion(bars.parent, name) for name in COMPANIONS), bars.parent / SET_ASIDE):
            digest.update(f"{path.suffix}:{_file_hash(path) if path.exists() else None}".encode())
        digest.update(repr(sorted(unread_companions(bars.parent))).encode())
        return digest.hexdigest()

    def read(self) -> Load:
        """The files' sound rows; the others beside them. Raises BadFile."""
        path = bars_file(self.data.files.path)
        if factored := factored_row(path):
            raise BadFile(
                f"{path} holds adjusted prices, of {factored}",
                f"`kobe bars import {shlex.quote(str(path))}` turns them back, or export them without --adjusted",
            )
        span = ("session", str(self.data.start or EARLIEST), str(self.data.end or LATEST))
        table = read_table(
            path,
            BARS,
            BAR_RULES,
            key=("symbol", "session"),
            most_bad=self.data.files.max_bad_rows,
            span=span if self.data.start or self.data.end else None,
            explain=_common_cause,
        )
        if not table.rows:
            if self.data.start or self.data.end:
                return Load(table.frame, _no_rows(SPLITS), _no_rows(CANDIDATES[:1]), _no_rows(CANDIDATES[:2]))
            raise BadFile(f"{path} holds no bars", f"it needs rows of {WANTED}")
        bars, widened = _widened(table.frame.drop(columns="currency", errors="ignore"))
        bars, small = in_capitals(bars)
        candidates, aside = self._candidates(path.parent, bars)
        bars, twins = one_name_each(bars, set(candidates["symbol"]) if candidates is not None else set())
        splits, of_splits = self._splits(path.parent, set(bars["symbol"]))
        dividends, of_dividends = self._dividends(path.parent, bars, splits)
        if candidates is None:
            candidates = _symbols_of(bars)
        options = candidates.reindex(columns=["symbol", "has_options"]).dropna()
        return Load(
            bars,
            splits,
            candidates.drop(columns="has_options", errors="ignore"),
            options,
            dividends,
            aside=aside_rows([*_rows_of(table, path), *small, *aside, *twins, *of_splits, *of_dividends, *_notes(path.parent)]),
            widened=widened,
        )

    def _candidates(self, folder: Path, bars: pd.DataFrame) -> tuple[pd.DataFrame | None, list[AsideRow]]:
        path = companion(folder, "candidates.csv")
        if not path.exists():
            return None, []
        table = read_table(path, CANDIDATES, key=("symbol",))
        if not len(table.frame):
            raise BadFile(f"{path} names no candidates", "list the symbols that may trade, or remove the file")
        frame, aside = _with_bars(path, table.frame, set(bars["symbol"]))
        return frame, [*_rows_of(table, path), *aside]

    def _splits(self, folder: Path, symbols: set[str]) -> tuple[pd.DataFrame, list[AsideRow]]:
        path = companion(folder, "splits.csv")
        if not path.exists():
            return _no_rows(SPLITS), []
        table = read_table(path, SPLITS, SPLIT_RULES, few=FEW_ACTIONS)
        frame, aside = _of_bars(path, table.frame, "execution_date", symbols)
        return frame, [*_rows_of(table, path), *aside]

    def _dividends(self, folder: Path, bars: pd.DataFrame, splits: pd.DataFrame) -> tuple[pd.DataFrame | None, list[AsideRow]]:
        path = companion(folder, "dividends.csv")
        if not path.exists():
            return None, []
        table = read_table(path, DIVIDENDS, DIVIDEND_RULES, few=FEW_ACTIONS)
        frame, aside = _of_bars(path, table.frame.drop(columns="currency", errors="ignore"), "ex_date", set(bars["symbol"]))
        exact = exact_ones(frame, path.name)
        paid = paid_ones(exact.frame, bars, splits, path.name)
        return paid.frame, [*_rows_of(table, path), *aside, *exact.aside, *paid.aside]


def companion(folder: Path, name: str) -> Path:
    """The file `name` of the folder, however its letters are written where only one file is named so."""
    same = [path for path in sorted(folder.iterdir()) if path.name.lower() == name] if folder.is_dir() else []
    return folder / name if (folder / name) in same or len(same) != 1 else same[0]


def unread_companions(folder: Path) -> list[str]:
    """Files of the folder that look like companions of the bars, or like more bars, and are not read."""
    read = {companion(folder, name).name for name in COMPANIONS} | {"bars.csv", "bars.parquet"}
    names = [path.name for path in sorted(folder.iterdir()) if path.name not in read and path.is_file()]
    return [name for name in names if LIKE_COMPANIONS.fullmatch(name)]


def _common_cause(cells: list[dict[str, Any]]) -> str:
    """What the bad rows have in common: high and low exchanged, or a close that is of another series than the rest."""
    under = over = exchanged = 0
    for row in cells:
        try:
            high, low, close = float(row["high"]), float(row["low"]), float(row["close"])
        except (KeyError, TypeError, ValueError):
            continue
        under += close < low
        over += close > high
        exchanged += high <= close <= low and high < low
    fewest = max(ADJUSTED_SHARE * len(cells), SAME_HISTORY)
    if exchanged >= fewest:
        return f"; in {exchanged:,} rows the close lies between a low and a high that are exchanged: name the columns right"
    if under >= fewest:
        return (
            f"; in {under:,} rows the close lies under the low: it looks adjusted for dividends or splits, beside open, high "
            "and low as traded. Give the close as traded"
        )
    if over >= fewest:
        return (
            f"; in {over:,} rows the close lies over the high: open, high and low look adjusted for dividends or splits, "
            "beside a close as traded, or it for reverse splits. Give all four as traded"
        )
    return ""


def _widened(bars: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """High and low at the outermost price, and in how many bars rounding had put one elsewhere."""
    import numpy as np

    high = np.maximum.reduce([bars[name].to_numpy(float) for name in ("high", "open", "close")])
    low = np.minimum.reduce([bars[name].to_numpy(float) for name in ("low", "open", "close")])
    moved = (high != bars["high"].to_numpy(float)) | (low != bars["low"].to_numpy(float))
    return (bars.assign(high=high, low=low), int(moved.sum())) if moved.any() else (bars, 0)


def _symbols_of(bars: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({"symbol": bars["symbol"].unique()})


def _rows_of(table: ReadTable, path: Path) -> list[AsideRow]:
    day = next((name for name in DATES if name in table.frame.columns), "")
    return [
        (_text(row.cells.get("symbol")), _date(row.cells.get(day)), f"{path.name}: {row.reason}", row.line, row.cells)
        for row in table.aside
    ]


def _with_bars(path: Path, candidates: pd.DataFrame, symbols: set[str]) -> tuple[pd.DataFrame, list[AsideRow]]:
    """The candidates as the bars spell them, each once, with a line on those that have no bars."""
    spelled, aside = spelled_as(candidates, symbols, path.name)
    spelled = spelled.drop_duplicates("symbol")
    without = sorted(set(spelled["symbol"]) - symbols)
    if without:
        more = f" and {len(without) - SHOWN_NAMES:,} more" if len(without) > SHOWN_NAMES else ""
        reason = f"{path.name}: no bars of {', '.join(without[:SHOWN_NAMES])}{more}"
        aside.append(("", None, reason, None, {"symbols": len(without)}))
    return spelled, aside


def _of_bars(path: Path, rows: pd.DataFrame, day: str, symbols: set[str]) -> tuple[pd.DataFrame, list[AsideRow]]:
    """The rows of a companion file whose symbols have bars, and lines on the others. day: the column of their date."""
    spelled, aside = spelled_as(rows, symbols, path.name)
    known = spelled["symbol"].isin(symbols)
    for row in spelled[~known].to_dict(orient="records"):
        symbol = str(row.pop("symbol"))
        aside.append((symbol, row.pop(day), f"{path.name}: no bars of {symbol}", None, row))
    return spelled[known], aside


def _notes(folder: Path) -> list[AsideRow]:
    """Companion files that nothing reads, and what an import left out."""
    reason = f"is not read; {', '.join(COMPANIONS)} are"
    unread: list[AsideRow] = [("", None, f"{name} {reason}", None, {"file": name}) for name in unread_companions(folder)]
    return [*unread, *left_out_by_import(folder)]


def _text(value: object) -> str:
    return str(value or "")


def _date(value: object) -> str | None:
    """The day of a cell where it is one; NULL where it is none."""
    try:
        return dt.date.fromisoformat(str(value)[:10]).isoformat() if EARLIEST <= str(value)[:10] <= LATEST else None
    except ValueError:
        return None


def bars_file(path: Path) -> Path:
    """The bars file that `path` is, or holds. Raises BadFile where there is none, or more than one."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise BadFile(f"{path} does not exist", f"set data.files.path to a bars.csv or bars.parquet ({WANTED})")
    found = [path / name for name in ("bars.parquet", "bars.csv") if (path / name).is_file()]
    if not found:
        hint = files_to_import(path)
        raise BadFile(f"{path} holds neither bars.csv nor bars.parquet{hint}", f"put one there ({WANTED})")
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
