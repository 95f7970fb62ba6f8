"""What can be wrong with stored bars, splits and the universe: one finding a check, with a count and the worst offenders.

Blocking are those after which a wrong number could follow; the others warn. Pure reads: nothing is mended here.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from kobe_assets.checks.bar_frames import by_size, frames_of, with_listed_splits, with_ways_back
from kobe_assets.checks.findings import (
    FINDINGS,
    LARGE_DIVIDEND,
    MOST_YIELD,
    NEAR_DIVIDENDS,
    DataFinding,
    data_finding,
    others,
)
from kobe_assets.checks.sessions import find_lone_sessions, find_stale, find_thin_sessions
from kobe_assets.checks.words import WORDS
from kobe_assets.graph.bar_table import read_bar_tables
from kobe_assets.graph.own_strategies import strategies_of
from kobe_assets.research.panel import LISTING_GAP
from kobe_assets.research.quarantine import SILENT_MOVE, suspects
from kobe_assets.research.strategies.register import symbols_read
from kobe_assets.selection.barred import MISDATED_DAYS, SMALLEST_JUMP, find_contradictory_splits
from kobe_assets.selection.eligibility import in_quarantine, keep_held, validate_universe
from kobe_resources.errors import KobeError
from kobe_resources.market_data.local.columns import DECIMALS, FEWEST_CLOSES, MOST_BETWEEN
from kobe_resources.runtime.sql_files import read_sql

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

    from kobe_assets.graph.bar_table import BarTable
    from kobe_resources.settings.models import Settings
    from kobe_resources.warehouse.store import Warehouse

S = TypeVar("S")
HERE = Path(__file__).parent
WORST = 20
LISTED_SPLITS = (
    "SELECT symbol, execution_date, product(split_from) AS split_from, product(split_to) AS split_to "
    "FROM (SELECT DISTINCT symbol, execution_date, split_from, split_to FROM splits WHERE split_from > 0 AND split_to > 0) "
    "GROUP BY symbol, execution_date HAVING count(*) > 1 OR abs(ln(product(split_from) / product(split_to))) > $smallest "
    "ORDER BY ALL"
)
QUERIES: dict[str, dict[str, Any]] = {
    "ohlc_order": {},
    "non_positive": {},
    "duplicate_splits": {},
    "contradictory_splits": {},
    "set_aside_rows": {},
    "restated_bars": {},
    "splits_without_jump": {"smallest": SMALLEST_JUMP},
    "dividends_without_fall": {"large": LARGE_DIVIDEND},
    "dividend_yields": {"most_yield": MOST_YIELD},
    "repeated_dividends": {"near": NEAR_DIVIDENDS},
    "adjusted_prices": {"decimals": DECIMALS, "fewest": FEWEST_CLOSES, "most_odd": MOST_BETWEEN},
    "corporate_actions": {},
    "orphan_bars": {},
    "refused_bars": {},
}
"""Checks that are one .sql file of this package, with its parameters."""
RUNS = {"zero_volume_runs": "without volume", "repeated_prices": "repeat the one before"}
"""Checks of runs of bars, and how they say it."""


def check_bars(
    warehouse: Warehouse, settings: Settings, now: dt.datetime | None = None, most: int = WORST
) -> list[DataFinding]:
    """Every check of FINDINGS on what the store holds; `now` (aware) decides what is stale. most: offenders to keep of each.

    Raises KobeError on an empty store: there is nothing to vouch for.
    """
    with warehouse.connect() as connection:
        last, counts = _sessions(connection)
        if last is None:
            raise KobeError("the warehouse holds no bars", "run `kobe bars refresh`")
        find_contradictory_splits(connection)
        asked = [_ask(connection, name, most) for name in QUERIES]
        lone = find_lone_sessions(connection, *counts)
        frames = _all_frames(warehouse, settings.universe.release, counts[0])
        splits = connection.execute(LISTED_SPLITS, {"smallest": SMALLEST_JUMP}).df()
    frames["suspects"] = with_listed_splits(with_ways_back(frames["suspects"]), splits, MISDATED_DAYS)
    found = [
        *asked,
        *_from_frames(frames),
        find_stale(last, settings, now or dt.datetime.now(dt.UTC)),
        find_thin_sessions(*counts),
        lone,
    ]
    by_name = {finding.name: finding for finding in found}
    kept = [by_name[name] for name in FINDINGS]
    return [replace(finding, offenders=finding.offenders.head(most)) for finding in kept]


def check_universe(warehouse: Warehouse, settings: Settings) -> list[DataFinding]:
    """Every check of UNIVERSE_FINDINGS: the evidence re-derived from the bars."""
    validation = validate_universe(warehouse, settings)
    words = "; ".join(validation.failures) or f"{validation.holding} symbols hold"
    return [
        find_none_selected(warehouse),
        data_finding("universe_coverage", validation.offenders, len(validation.failures), words),
        find_unread(warehouse, settings),
    ]


def find_unread(warehouse: Warehouse, settings: Settings) -> DataFinding:
    """The symbols that strategies read without bars of theirs: such a strategy gives no signal, and nothing else says so."""
    import pandas as pd

    read = {name: symbols_read([strategy]) for name, strategy in strategies_of(settings).items()}
    stored = {name for (name,) in warehouse.rows("SELECT DISTINCT symbol FROM daily_bars")} if any(read.values()) else set()
    missing = [(symbol, name) for name, symbols in read.items() for symbol in sorted(symbols - stored)]
    text = ", ".join(f"{symbol} ({name})" for symbol, name in missing)
    words = f"no bars are stored of what strategies read: {text}; what reads it is undefined everywhere" if missing else ""
    return data_finding("symbols_read", pd.DataFrame(missing, columns=["read", "strategy"]), len(missing), words)


def find_none_selected(warehouse: Warehouse) -> DataFinding:
    """Whether every candidate was rejected, and for which reasons."""
    reasons = warehouse.frame(
        "SELECT reason, count(*) AS candidates FROM universe GROUP BY reason ORDER BY candidates DESC, reason"
    )
    some = warehouse.rows("SELECT 1 FROM universe WHERE selected LIMIT 1")
    text = ", ".join(f"{row.candidates:,} {row.reason}" for row in reasons.itertuples())
    words = f"no candidate is selected ({text}): change [universe] or the bars, `kobe universe show --all` has the evidence"
    return data_finding("any_selected", reasons.head(0 if some else WORST), 0 if some else 1, "" if some else words)


def _sessions(connection: duckdb.DuckDBPyConnection) -> tuple[dt.date | None, tuple[np.ndarray, np.ndarray]]:
    """The last stored session (None: there is none), and the distinct ones with their numbers of bars."""
    found = connection.execute(
        "SELECT session, count(*) AS bars FROM daily_bars GROUP BY session ORDER BY session"
    ).fetchnumpy()
    days = np.asarray(found["session"]).astype("datetime64[D]")
    return (days[-1].item() if len(days) else None), (days, np.asarray(found["bars"]).astype(np.int64))


def _all_frames(warehouse: Warehouse, release: Mapping[str, str], days: np.ndarray) -> dict[str, pd.DataFrame]:
    """The offenders along the bars of every symbol, read so many symbols at a time.

    While one part is looked through, the next one is read.
    """
    import pandas as pd

    held: set[str] = set()

    def look(bars: BarTable) -> dict[str, pd.DataFrame]:
        found = suspects(bars)
        held.update(in_quarantine(bars, found))
        return frames_of(bars, release, days, found)

    with ThreadPoolExecutor(1, "kobe-checks") as thread:
        parts = [part.result() for part in one_ahead(thread.submit(look, bars) for bars in read_bar_tables(warehouse))]
    keep_held(warehouse, held)
    return {name: pd.concat([part[name] for part in parts], ignore_index=True) for name in parts[0]}


def one_ahead(items: Iterable[S]) -> Iterator[S]:
    """The items, each given once the next one is there."""
    before: list[S] = []
    for item in items:
        yield from before
        before = [item]
    yield from before


def _from_frames(frames: Mapping[str, pd.DataFrame]) -> Iterator[DataFinding]:
    copies = frames["repeats"].value_counts(sort=False).add(1).rename("copies").reset_index()
    worst = copies.sort_values(["copies", "symbol", "session"], ascending=[False, True, True])
    yield data_finding("duplicate_bars", worst, len(worst), "")
    yield from _find_calendar_gaps(frames["strange"], frames["gaps"])
    for name, words in RUNS.items():
        runs = frames[name].sort_values(["bars", "symbol"], ascending=[False, True])
        yield data_finding(name, runs, len(runs), f"{len(runs):,} runs of bars {words}")
    yield _find_suspects(by_size(frames["suspects"]))
    moves = frames["silent_moves"].sort_values(["usual_days", "symbol"], ascending=[False, True], ignore_index=True)
    quiet, stay = int((~moves["shares_stay"]).sum()), int(moves["shares_stay"].sum())
    lines = [f"{quiet:,} moves of {SILENT_MOVE:g} usual days or more without unusual volume: splits or spin-offs left out?"]
    lines += [f"{stay:,} after which so many shares are usual: another company under the ticker?"]
    words = "; ".join(text for text, count in zip(lines, (quiet, stay), strict=True) if count)
    yield data_finding("silent_moves", moves, len(moves), words)
    prints = frames["odd_prints"]
    prints = prints.iloc[np.argsort(-np.abs(np.log(prints["ratio"].to_numpy(float))), kind="stable")]
    words = f"{len(prints):,} prints far out of the closes before and after them, without unusual volume"
    yield data_finding("odd_prints", prints, len(prints), words)
    yield _find_weekly(frames["weekly_bars"])


def _find_suspects(frame: pd.DataFrame) -> DataFinding:
    """Suspect jumps and ranges (rules, section 2); those of symbols that a person released do not count."""
    held = frame[frame["released"] == ""]
    words = f"{len(held)} suspect bars in {held['symbol'].nunique()} symbols, {len(frame) - len(held)} more released by hand"
    if len(held):
        worst = held.iloc[0]
        what = f"close x {math.exp(worst['move']):.3g}" if worst["kind"] == "jump" else f"range x {worst['stretch']:.3g}"
        words += f"; the worst: {worst['symbol']} on {worst['session']:%Y-%m-%d} ({what}){others(held)}"
    return data_finding("suspect_jumps", frame, len(held), words)


def _find_weekly(frame: pd.DataFrame) -> DataFinding:
    kind = "weekly" if not len(frame) or frame["days_apart"].median() < 20 else "monthly"
    words = f"the bars of {len(frame):,} symbols are {kind}, not daily: every figure a year is scaled by 252 sessions"
    return data_finding("weekly_bars", frame.sort_values("bars", ascending=False, kind="stable"), len(frame), words)


def _find_calendar_gaps(strange: pd.DataFrame, gaps: pd.DataFrame) -> Iterator[DataFinding]:
    """Bars against the XNYS calendar: on no session, missing inside a life, and back after a long absence."""
    by_day = strange.groupby("session").agg(bars=("symbol", "size"), example=("symbol", "first")).reset_index()
    yield data_finding(
        "unknown_sessions",
        by_day.sort_values(["bars", "session"], ascending=[False, True]),
        len(strange),
        f"{len(strange):,} bars lie on {len(by_day):,} days that were no session",
    )
    by_symbol = gaps.groupby("symbol").agg(
        missing=("missing", "sum"), gaps=("missing", "size"), longest=("missing", "max"), first_gap_after=("last_before", "min")
    )
    missing = int(gaps["missing"].sum())
    yield data_finding(
        "missing_sessions",
        by_symbol.reset_index().sort_values(["missing", "symbol"], ascending=[False, True]),
        missing,
        f"{missing:,} sessions are missing inside the lives of {len(by_symbol):,} symbols",
    )
    # As the rules part listings: by the sessions that other symbols have bars of.
    back = gaps[gaps["between"] > LISTING_GAP].sort_values(["missing", "symbol"], ascending=[False, True])
    yield data_finding("reused_tickers", back, len(back), f"{len(back):,} times a ticker came back after a long absence")


def _ask(connection: duckdb.DuckDBPyConnection, name: str, most: int) -> DataFinding:
    """A check that is one query: its rows are the offenders, and a column `offenders` says how many there are in all."""
    frame = connection.execute(read_sql(HERE, name), {**QUERIES[name], "most": most}).df()
    count = int(frame["offenders"].iloc[0]) if len(frame) else 0
    return data_finding(
        name, frame.drop(columns="offenders"), count, WORDS[name](frame, count) if count and name in WORDS else ""
    )
