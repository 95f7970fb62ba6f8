"""What can be wrong with stored bars, splits and the universe: one finding a check, with a count and the worst offenders.

Blocking are those after which a wrong number could follow; the others warn. Pure reads: nothing is mended here.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kobe_assets.checks.bar_frames import SAME_BARS, SAME_PRICES, ZERO_VOLUME_RUN, by_size, frames_of
from kobe_assets.research.quarantine import SILENT_MOVE
from kobe_assets.selection.bar_table import read_bar_tables
from kobe_assets.selection.barred import ONE_SPLIT_DAYS, SMALLEST_JUMP
from kobe_assets.selection.eligibility import validate_universe
from kobe_resources import calendar
from kobe_resources.errors import KobeError
from kobe_resources.findings import Finding
from kobe_resources.market_data import AGING
from kobe_resources.runtime.sql_files import read_sql

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

    from kobe_resources.settings.models import Settings
    from kobe_resources.warehouse.store import Warehouse

HERE = Path(__file__).parent
WORST = 20
OTHERS_NAMED = 5
"""Symbols that a finding names beside the worst; more are counted."""
REUSED_AFTER = 10
"""A ticker that is back more than this many sessions after its last bar may be another company."""
MOST_YIELD = 0.15
"""Part of its price that hardly a stock pays in a year."""
LARGE_DIVIDEND = 0.2
"""Dividends over this part of the close before them must show in the price."""
FEW_ROWS, USUAL_DAYS = 0.8, 20

FINDINGS: dict[str, tuple[bool, str]] = {
    "duplicate_bars": (True, "No symbol has two bars of one session."),
    "ohlc_order": (True, "low ≤ open, close ≤ high in every bar."),
    "non_positive": (True, "Prices are finite and positive, volumes finite and not negative."),
    "duplicate_splits": (True, "No split of a candidate is stored twice: it would count twice."),
    "contradictory_splits": (False, "No candidate has splits that contradict each other; one that has is not selected."),
    "unknown_sessions": (False, "Every bar lies on an XNYS session."),
    "missing_sessions": (False, "No session is missing between a symbol's first and last bar."),
    "zero_volume_runs": (False, f"No symbol goes {ZERO_VOLUME_RUN} bars in a row without volume."),
    "repeated_prices": (False, f"No symbol has {SAME_BARS} equal bars in a row, or the same prices {SAME_PRICES} times."),
    "suspect_jumps": (False, "No close and no range leaps without unusual volume; where one does, the listing is quarantined."),
    "splits_without_jump": (False, "Where a split is recorded, the raw price jumps."),
    "dividends_without_fall": (
        False,
        f"No dividend is over {LARGE_DIVIDEND:.0%} of the close before it while the price does not fall.",
    ),
    "dividend_yields": (False, f"No symbol pays over {MOST_YIELD:.0%} of its price in dividends in a year."),
    "corporate_actions": (
        False,
        "No candidate had a spin-off, a merger, a new name or an end that its prices are not adjusted for.",
    ),
    "reused_tickers": (False, f"No ticker stops and starts again more than {REUSED_AFTER} sessions later."),
    "stale_last_session": (False, "The last stored session is the latest that the vendor should have."),
    "thin_sessions": (False, f"No session has under {FEW_ROWS:.0%} of the bars of the {USUAL_DAYS} before it."),
    "orphan_bars": (False, "Every symbol with bars is a candidate."),
    "silent_moves": (
        False,
        f"No price moves by {SILENT_MOVE:g} usual days without unusual volume: a split or spin-off left out.",
    ),
    "weekly_bars": (False, "Bars are daily: figures a year are scaled by 252 sessions."),
    "set_aside_rows": (False, "Every row that the source gave is stored."),
    "restated_bars": (False, "The last load restated no symbol's history."),
    "refused_bars": (False, "The source has no row that had to be kept out of the store, and no split twice."),
}
"""Check of daily_bars → blocking, and what it says when it passes."""

QUERIES: dict[str, dict[str, Any]] = {
    "ohlc_order": {},
    "non_positive": {},
    "duplicate_splits": {},
    "contradictory_splits": {"days": ONE_SPLIT_DAYS},
    "set_aside_rows": {},
    "restated_bars": {},
    "splits_without_jump": {"smallest": SMALLEST_JUMP},
    "dividends_without_fall": {"large": LARGE_DIVIDEND},
    "dividend_yields": {"most_yield": MOST_YIELD},
    "corporate_actions": {},
    "orphan_bars": {},
    "refused_bars": {},
}
"""Checks that are one .sql file of this package, with its parameters."""

RUNS = {"zero_volume_runs": "without volume", "repeated_prices": "repeat the one before"}
"""Checks of runs of bars, and how they say it."""

UNIVERSE_FINDINGS: dict[str, tuple[bool, str]] = {
    "any_selected": (True, "Some candidate is selected: nothing can be said about a strategy that has nothing to trade."),
    "universe_coverage": (False, "At least min_symbols are selected, each with bars for min_years."),
}


@dataclass(frozen=True, kw_only=True)
class DataFinding(Finding):
    """The finding of a check of stored rows. count: offenders in all. offenders: the worst of them first."""

    count: int
    offenders: pd.DataFrame = field(repr=False)

    @property
    def severity(self) -> str:
        """blocking or warning, as `check_results` keeps it."""
        return "blocking" if self.blocks else "warning"


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
        asked = [_ask(connection, name, most) for name in QUERIES]
        frames = _all_frames(warehouse, settings.universe.release)
    found = [
        *asked,
        *_from_frames(frames),
        find_stale(last, settings, now or dt.datetime.now(dt.UTC)),
        find_thin_sessions(*counts),
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
        _finding("universe_coverage", validation.offenders, len(validation.failures), words),
    ]


def find_none_selected(warehouse: Warehouse) -> DataFinding:
    """Whether every candidate was rejected, and for which reasons."""
    reasons = warehouse.frame(
        "SELECT reason, count(*) AS candidates FROM universe GROUP BY reason ORDER BY candidates DESC, reason"
    )
    some = warehouse.rows("SELECT 1 FROM universe WHERE selected LIMIT 1")
    told = ", ".join(f"{row.candidates:,} {row.reason}" for row in reasons.itertuples())
    words = f"no candidate is selected ({told}): change [universe] or the bars, `kobe universe show --all` has the evidence"
    return _finding("any_selected", reasons.head(0 if some else WORST), 0 if some else 1, "" if some else words)


def _sessions(connection: duckdb.DuckDBPyConnection) -> tuple[dt.date | None, tuple[np.ndarray, np.ndarray]]:
    """The last stored session (None: there is none), and the distinct ones with their numbers of bars."""
    found = connection.execute(
        "SELECT session, count(*) AS bars FROM daily_bars GROUP BY session ORDER BY session"
    ).fetchnumpy()
    days = np.asarray(found["session"]).astype("datetime64[D]")
    return (days[-1].item() if len(days) else None), (days, np.asarray(found["bars"]).astype(np.int64))


def _all_frames(warehouse: Warehouse, release: Mapping[str, str]) -> dict[str, pd.DataFrame]:
    """The offenders along the bars of every symbol, read so many symbols at a time."""
    import pandas as pd

    parts = [frames_of(bars, release) for bars in read_bar_tables(warehouse)]
    return {name: pd.concat([part[name] for part in parts], ignore_index=True) for name in parts[0]}


def _from_frames(frames: Mapping[str, pd.DataFrame]) -> Iterator[DataFinding]:
    copies = frames["repeats"].value_counts(sort=False).add(1).rename("copies").reset_index()
    worst = copies.sort_values(["copies", "symbol", "session"], ascending=[False, True, True])
    yield _finding("duplicate_bars", worst, len(worst), "")
    yield from _find_calendar_gaps(frames["strange"], frames["gaps"])
    for name, words in RUNS.items():
        runs = frames[name].sort_values(["bars", "symbol"], ascending=[False, True])
        yield _finding(name, runs, len(runs), f"{len(runs):,} runs of bars {words}")
    yield _find_suspects(by_size(frames["suspects"]))
    moves = frames["silent_moves"].sort_values(["usual_days", "symbol"], ascending=[False, True], ignore_index=True)
    words = f"{len(moves):,} moves of {SILENT_MOVE:g} usual days or more without unusual volume: splits or spin-offs left out?"
    yield _finding("silent_moves", moves, len(moves), words)
    yield _find_weekly(frames["weekly_bars"])


def _find_suspects(frame: pd.DataFrame) -> DataFinding:
    """Suspect jumps and ranges (rules, section 2); those of symbols that a person released do not count."""
    held = frame[frame["released"] == ""]
    words = f"{len(held)} suspect bars in {held['symbol'].nunique()} symbols, {len(frame) - len(held)} more released by hand"
    if len(held):
        worst = held.iloc[0]
        what = f"close x {math.exp(worst['move']):.3g}" if worst["kind"] == "jump" else f"range x {worst['stretch']:.3g}"
        words += f"; the worst: {worst['symbol']} on {worst['session']:%Y-%m-%d} ({what}){_others(held)}"
    return _finding("suspect_jumps", frame, len(held), words)


def _find_weekly(frame: pd.DataFrame) -> DataFinding:
    kind = "weekly" if not len(frame) or frame["days_apart"].median() < 20 else "monthly"
    words = f"the bars of {len(frame):,} symbols are {kind}, not daily: every figure a year is scaled by 252 sessions"
    return _finding("weekly_bars", frame.sort_values("bars", ascending=False, kind="stable"), len(frame), words)


def _find_calendar_gaps(strange: pd.DataFrame, gaps: pd.DataFrame) -> Iterator[DataFinding]:
    """Bars against the XNYS calendar: on no session, missing inside a life, and back after a long absence."""
    by_day = strange.groupby("session").agg(bars=("symbol", "size"), example=("symbol", "first")).reset_index()
    yield _finding(
        "unknown_sessions",
        by_day.sort_values(["bars", "session"], ascending=[False, True]),
        len(strange),
        f"{len(strange):,} bars lie on {len(by_day):,} days that were no session",
    )
    by_symbol = gaps.groupby("symbol").agg(
        missing=("missing", "sum"), gaps=("missing", "size"), longest=("missing", "max"), first_gap_after=("last_before", "min")
    )
    missing = int(gaps["missing"].sum())
    yield _finding(
        "missing_sessions",
        by_symbol.reset_index().sort_values(["missing", "symbol"], ascending=[False, True]),
        missing,
        f"{missing:,} sessions are missing inside the lives of {len(by_symbol):,} symbols",
    )
    back = gaps[gaps["missing"] >= REUSED_AFTER].sort_values(["missing", "symbol"], ascending=[False, True])
    yield _finding("reused_tickers", back, len(back), f"{len(back):,} times a ticker came back after a long absence")


def find_thin_sessions(days: np.ndarray, counts: np.ndarray) -> DataFinding:
    """Sessions with far fewer bars than those before them: a load that broke off, a feed that lost symbols."""
    import pandas as pd

    short = counts[USUAL_DAYS:] < FEW_ROWS * _median_before(counts) if len(counts) > USUAL_DAYS else np.zeros(0, bool)
    thin = np.flatnonzero(short) + USUAL_DAYS
    usual = _median_before(counts)[thin - USUAL_DAYS] if len(thin) else np.zeros(0)
    frame = pd.DataFrame({"session": days[thin], "bars": counts[thin], "usual": usual})
    worst = frame.assign(share=frame["bars"] / frame["usual"]).sort_values(["share", "session"])
    return _finding("thin_sessions", worst, len(frame), f"{len(frame):,} sessions have few bars")


def find_stale(last: dt.date, settings: Settings, now: dt.datetime) -> DataFinding:
    """Whether the last stored session is the one that the vendor should have by `now`; a fixed history is never stale."""
    import pandas as pd

    expected = _expected_last_session(settings, now)
    if expected is None or last >= expected:
        words = f"the last stored session is {last}" + ("" if expected else f": {settings.data.vendor} is a fixed history")
        return _finding("stale_last_session", pd.DataFrame(), 0, words)
    behind = len(calendar.sessions(last, expected)) - 1
    frame = pd.DataFrame({"last_session": [last], "expected": [expected], "sessions_behind": [behind]})
    words = f"the last stored session is {last}, {behind} behind {expected}: run `kobe bars refresh`"
    return _finding("stale_last_session", frame, behind, words)


def _expected_last_session(settings: Settings, now: dt.datetime) -> dt.date | None:
    data = settings.data
    if data.vendor not in AGING:
        return None
    latest = calendar.latest_complete_session(now, calendar.BARS_EXPECTED_AFTER)
    return calendar.previous_session(data.end + dt.timedelta(days=1)) if data.end and data.end < latest else latest


def _others(worst_first: pd.DataFrame) -> str:
    """The symbols after the first row's, each once, as many as a line holds; nothing where there are none."""
    rest = [name for name in dict.fromkeys(worst_first["symbol"]) if name != worst_first["symbol"].iloc[0]]
    more = f" and {len(rest) - OTHERS_NAMED} more" if len(rest) > OTHERS_NAMED else ""
    return f"; others: {', '.join(rest[:OTHERS_NAMED])}{more}" if rest else ""


def _median_before(counts: np.ndarray) -> np.ndarray:
    medians: np.ndarray = np.median(np.lib.stride_tricks.sliding_window_view(counts[:-1], USUAL_DAYS), axis=1)
    return medians


def _ask(connection: duckdb.DuckDBPyConnection, name: str, most: int) -> DataFinding:
    """A check that is one query: its rows are the offenders, and a column `offenders` says how many there are in all."""
    frame = connection.execute(read_sql(HERE, name), {**QUERIES[name], "most": most}).df()
    count = int(frame["offenders"].iloc[0]) if len(frame) else 0
    return _finding(name, frame.drop(columns="offenders"), count, WORDS[name](frame, count) if count and name in WORDS else "")


def _words_of_set_aside(frame: pd.DataFrame, count: int) -> str:
    """How many rows, and of each reason the first."""
    import pandas as pd

    parts = []
    for row in frame.itertuples():
        day = "" if pd.isna(row.session) else f" {str(row.session)[:10]}"
        line = "" if pd.isna(row.line) else f", line {int(row.line)}"
        what = f"{row.rows:,} x {row.reason}" if row.rows > 1 else row.reason
        parts.append(f"{what} ({row.symbol}{day}{line})" if row.symbol else what)
    return f"{count:,} rows of the source are set aside, and are not among the bars: " + "; ".join(parts)


def _words_of_restated(frame: pd.DataFrame, count: int) -> str:
    """Symbol by symbol, how many bars, and by which factor."""
    parts = [
        f"{row.bars:,} bars of {row.symbol} restated" + (f" by {row.factor:.4g}" if row.one_factor else "")
        for row in frame.head(5).itertuples()
    ]
    more = f" and {count - len(parts)} more symbols" if count > len(parts) else ""
    adjusted = "; one factor throughout: adjusted prices, or a split that is not listed?" if frame["one_factor"].any() else ""
    return ", ".join(parts) + more + adjusted


WORDS: dict[str, Callable[[pd.DataFrame, int], str]] = {
    "set_aside_rows": _words_of_set_aside,
    "restated_bars": _words_of_restated,
}
"""What a check that is a query says, where the worst row does not say it."""


def _told(offenders: pd.DataFrame) -> str:
    """The first row in words."""
    row = offenders.iloc[0].to_dict() if len(offenders) else {}
    return ", ".join(f"{name} {value!s:.40}".removesuffix(" 00:00:00") for name, value in row.items())


def _finding(name: str, offenders: pd.DataFrame, count: int, words: str) -> DataFinding:
    blocking, rule = {**FINDINGS, **UNIVERSE_FINDINGS}[name]
    broken = words or f"{count:,} offenders, the worst: {_told(offenders)}. Wanted: {rule}"
    if words and len(offenders) and "symbol" in offenders and "worst" not in words and name not in WORDS:
        broken = f"{words}; the worst: {_told(offenders)}"
    return DataFinding(
        name=name,
        ok=count == 0,
        count=count,
        offenders=offenders.reset_index(drop=True),
        seen=broken if count else rule,
        blocks=blocking,
    )
