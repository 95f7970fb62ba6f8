"""What looks wrong along the bars of each symbol, as frames of offenders; pure, and for a part of the symbols at a time."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np

from kobe_assets.research.quarantine import OddPrints, SilentMoves, Suspects, odd_prints, silent_moves, suspects
from kobe_resources import calendar

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from kobe_assets.graph.bar_table import BarTable

ZERO_VOLUME_RUN = 3
"""Bars in a row without a trade before it is worth a word."""
SAME_BARS, SAME_PRICES = 3, 5
"""Equal bars in a row, and bars of equal prices, from which they look copied: a feed that stood still."""
FEWEST_ALIKE = 5
"""Symbols whose bars of one session repeat the one before from which that session was copied."""
SAME_WAY = 0.15
"""Part of a jump's log size within which another one takes it back."""
FEWEST_WEEKS = 20
"""Bars of a symbol from which their distance says something."""
LONGEST_WEEKEND = 4
"""Days from a session to the next in any but a handful of weeks."""
A_WEEK = 6
"""Usual days between two bars from which they are not daily: sessions of a week are a day apart, or three over a weekend."""


def frames_of(bars: BarTable, release: Mapping[str, str], days: np.ndarray, found: Suspects) -> dict[str, pd.DataFrame]:
    """Offenders by name; those of several parts, one under the other, are those of all symbols.

    days: the sessions that any symbol has bars of. found: `suspects(bars)`.
    """
    strange, gaps = _against_calendar(bars, days)
    return {
        "repeats": _repeats(bars),
        "strange": strange,
        "gaps": gaps,
        "zero_volume_runs": _idle_runs(bars),
        "repeated_prices": _standstills(bars),
        "suspects": quarantine_table(bars, release, found),
        "silent_moves": _moves(bars, silent_moves(bars, found)),
        "odd_prints": _prints(bars, odd_prints(bars, found)),
        "weekly_bars": _far_apart(bars),
    }


def quarantine_table(bars: BarTable, release: Mapping[str, str], found: Suspects | None = None) -> pd.DataFrame:
    """Every suspect bar, the largest move or range first. found: `suspects(bars)`, where the caller has it.

    Columns: symbol, session, kind (jump, range), move, stretch, dollars, usual_dollars, shares, usual_shares, until,
    in_force, released.
    """
    import pandas as pd

    found = found or suspects(bars)
    symbols = [bars.symbols[place] for place in bars.symbol[found.bar]]
    ends = found.last < found.end
    until = np.where(ends, bars.session[np.where(ends, found.last, 0)], np.datetime64("NaT"))
    frame = pd.DataFrame(
        {
            "symbol": symbols,
            "session": bars.session[found.bar],
            "kind": np.where(found.jump, "jump", "range"),
            "move": found.move,
            "stretch": found.stretch,
            "dollars": found.dollars,
            "usual_dollars": found.usual,
            "shares": found.shares,
            "usual_shares": found.usual_shares,
            "until": until,
            "in_force": found.in_force,
            "released": [release.get(symbol, "") for symbol in symbols],
        }
    )
    return by_size(frame)


def by_size(suspect: pd.DataFrame) -> pd.DataFrame:
    """The rows of `quarantine_table`, the largest move or range first."""
    size = np.where(suspect["kind"] == "jump", np.abs(suspect["move"]), np.log(suspect["stretch"]))
    return suspect.iloc[np.argsort(-size, kind="stable")].reset_index(drop=True)


def with_ways_back(suspect: pd.DataFrame) -> pd.DataFrame:
    """The rows of `quarantine_table` with the day of the jump that takes theirs back: a misprint or another unit, no split.

    Column: undone (NaT: nothing does).
    """
    import pandas as pd

    jumps = suspect[suspect["kind"] == "jump"]
    held = {symbol: list(zip(own["session"], own["move"], strict=True)) for symbol, own in jumps.groupby("symbol")}
    found = []
    for symbol, session, move, kind in zip(*(suspect[name] for name in ("symbol", "session", "move", "kind")), strict=True):
        back = [day for day, other in held.get(symbol, ()) if kind == "jump" and abs(move + other) < SAME_WAY * abs(move)]
        found.append(min(back, key=lambda day: abs(day - session), default=pd.NaT))
    return suspect.assign(undone=pd.Series(found, index=suspect.index, dtype="datetime64[us]"))


def with_listed_splits(suspect: pd.DataFrame, splits: pd.DataFrame, days: int) -> pd.DataFrame:
    """The rows of `quarantine_table` with the split that their symbol lists for that day, or else for the nearest of `days`.

    splits: symbol, execution_date, split_from, split_to. Columns: listed_day (NaT: none), listed_from, listed_to.
    """
    import pandas as pd

    held: dict[str, list[tuple[Any, float, float]]] = {}
    for row in splits.itertuples():
        held.setdefault(row.symbol, []).append((row.execution_date, row.split_from, row.split_to))
    found = []
    for symbol, session in zip(suspect["symbol"], suspect["session"], strict=True):
        near = [(abs((split[0] - session).days), split) for split in held.get(symbol, ())]
        apart, split = min(near, default=(days + 1, (pd.NaT, np.nan, np.nan)))
        found.append(split if apart <= days else (pd.NaT, np.nan, np.nan))
    listed = pd.DataFrame(found, columns=["listed_day", "listed_from", "listed_to"], index=suspect.index)
    return suspect.join(listed.astype({"listed_day": "datetime64[us]", "listed_from": float, "listed_to": float}))


def _repeats(bars: BarTable) -> pd.DataFrame:
    """symbol, session of every bar after the first of its session."""
    import pandas as pd

    again = np.flatnonzero(bars.follows & (bars.session[1:] == bars.session[:-1])) + 1
    return pd.DataFrame({"symbol": _names(bars)[bars.symbol[again]], "session": bars.session[again]})


def _moves(bars: BarTable, found: SilentMoves) -> pd.DataFrame:
    """Moves of twelve usual days or more, without unusual volume or with one that stays, that are no suspect jumps."""
    import pandas as pd

    return pd.DataFrame(
        {
            "symbol": _names(bars)[bars.symbol[found.bar]],
            "session": bars.session[found.bar],
            "ratio": np.exp(found.move),
            "usual_days": np.abs(found.move) / found.usual,
            "shares_stay": found.stays,
        }
    )


def _prints(bars: BarTable, found: OddPrints) -> pd.DataFrame:
    """Opens, highs and lows far out of the closes around them."""
    import pandas as pd

    what = np.where(found.is_open, "open", np.where(found.ratio > 1.0, "high", "low"))
    names = _names(bars)[bars.symbol[found.bar]]
    frame = pd.DataFrame({"symbol": names, "session": bars.session[found.bar], "price": what, "ratio": found.ratio})
    return frame.astype({"price": object})


def _far_apart(bars: BarTable) -> pd.DataFrame:
    """Symbols whose bars, all or many in a row, lie a week or more apart."""
    import pandas as pd

    # Of a symbol, not of a listing: months apart, every bar is a listing of its own.
    starts = np.append(0, np.flatnonzero(~bars.follows) + 1)
    ends = np.append(starts[1:], len(bars.session))
    step = np.diff(bars.session).astype(np.int64)
    # Exporters give weeks of the years long past, and days of the last: runs of wide steps, of one symbol.
    first, last = _stretches(bars.follows & (step > LONGEST_WEEKEND))
    far = last - first + 1 >= FEWEST_WEEKS
    runs = list(zip(first[far], last[far], strict=True))
    rows = [(begin, float(np.median(step[begin:end])), end - begin + 1) for begin, end in runs]
    weekly = {bars.symbol[begin] for begin, _ in runs}
    # A median takes long; it can only be a week where half of the steps are.
    wide = np.append(0, np.cumsum(step >= A_WEEK))
    may_be = (ends - starts >= FEWEST_WEEKS) & (2 * (wide[ends - 1] - wide[starts]) >= ends - starts - 1)
    for begin, end in zip(starts[may_be], ends[may_be], strict=True):
        own = step[begin : end - 1]
        if bars.symbol[begin] not in weekly and (usual := float(np.median(own))) >= A_WEEK:
            rows.append((begin, usual, len(own) + 1))
    named = [(bars.symbols[bars.symbol[begin]], bars.session[begin], usual, count) for begin, usual, count in rows]
    return pd.DataFrame(named, columns=["symbol", "session", "days_apart", "bars"]).drop_duplicates("symbol", ignore_index=True)


def _against_calendar(bars: BarTable, listed: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Bars on days that were no session (symbol, session), and gaps (symbol, last_before, first_after, missing, between).

    missing: sessions of the exchange; between: those of them that other symbols have bars of.
    """
    import pandas as pd

    first, last = bars.session.min().item(), bars.session.max().item()
    days = calendar.sessions(max(first, calendar.FIRST_DAY), min(last, calendar.LAST_DAY))
    # Looked up by the day, of which there are few; of bars there are many.
    every_day = np.arange(first, last + dt.timedelta(days=1), dtype="datetime64[D]")
    day = (bars.session - every_day[0]).astype(np.int64)
    place, known = np.searchsorted(days, every_day)[day], np.isin(every_day, days)[day]
    names = _names(bars)
    gap = np.flatnonzero(bars.follows & (np.diff(place) > 1))
    gaps = pd.DataFrame(
        {
            "symbol": names[bars.symbol[gap]],
            "last_before": bars.session[gap],
            "first_after": bars.session[gap + 1],
            "missing": np.diff(place)[gap] - 1,
            "between": np.searchsorted(listed, bars.session[gap + 1]) - np.searchsorted(listed, bars.session[gap]) - 1,
        }
    )
    return pd.DataFrame({"symbol": names[bars.symbol[~known]], "session": bars.session[~known]}), gaps


def _idle_runs(bars: BarTable) -> pd.DataFrame:
    """Runs of ZERO_VOLUME_RUN bars and more without volume."""
    zero = np.concatenate([[False], bars.volume == 0.0, [False]])
    # A run ends where the symbol does.
    new_symbol = np.concatenate([[True], ~bars.follows, [True]])
    begins = np.flatnonzero(zero[1:] & (~zero[:-1] | new_symbol))
    ends = np.flatnonzero(zero[:-1] & (~zero[1:] | new_symbol)) - 1
    return _runs(bars, begins, ends, ZERO_VOLUME_RUN)


def _standstills(bars: BarTable) -> pd.DataFrame:
    """Runs of bars that repeat the one before, all of it, or its four prices over more bars, of symbols that else move."""
    import pandas as pd

    same = bars.follows & (bars.session[1:] > bars.session[:-1])
    for values in (bars.open, bars.high, bars.low, bars.close):
        same &= values[1:] == values[:-1]
    # A price that hardly ever moves is a peg; only where it does is a standstill a fault of the feed.
    still = np.bincount(bars.symbol[1:][same], minlength=len(bars.symbols))
    moves = still < np.diff(bars.start) / 2
    busy = same & (bars.volume[1:] > 0)
    busy[busy] = moves[bars.symbol[1:][busy]]
    whole = busy & (bars.volume[1:] == bars.volume[:-1])
    kinds = ((whole, SAME_BARS), (busy, SAME_PRICES), (whole & _of_most(bars, whole), 2))
    found = [_runs(bars, *_stretches(again), least) for again, least in kinds]
    frame = pd.concat(found, ignore_index=True).sort_values("bars", ascending=False, kind="stable")
    return frame.drop_duplicates(["symbol", "last_session"], ignore_index=True)


def _of_most(bars: BarTable, again: np.ndarray) -> np.ndarray:
    """(bars − 1) whether most symbols with a bar of that session repeat the one before: a day that a feed filled in."""
    days, held = np.unique(bars.session[1:][again], return_counts=True)
    if not len(days):
        return again
    place = np.minimum(np.searchsorted(days, bars.session), len(days) - 1)
    total = np.bincount(place[days[place] == bars.session], minlength=len(days))
    most = (held >= FEWEST_ALIKE) & (held > total / 2)
    return np.isin(bars.session[1:], days[most])


def _stretches(again: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last bar of every run. again: (bars − 1) whether bar i + 1 repeats bar i."""
    edges = np.diff(np.concatenate([[False], again, [False]]).astype(np.int8))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


def _runs(bars: BarTable, begins: np.ndarray, ends: np.ndarray, least: int) -> pd.DataFrame:
    """The runs of `least` bars and more."""
    import pandas as pd

    long = ends - begins + 1 >= least
    begins, ends = begins[long], ends[long]
    return pd.DataFrame(
        {
            "symbol": _names(bars)[bars.symbol[begins]],
            "first_session": bars.session[begins],
            "last_session": bars.session[ends],
            "bars": ends - begins + 1,
        }
    )


def _names(bars: BarTable) -> np.ndarray:
    return np.array(bars.symbols, dtype=object)
