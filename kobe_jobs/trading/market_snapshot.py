"""What a trading run may know on the morning of a session: signals, bars and splits of the sessions before it.

Read from the warehouse once, before any order, because a connection kept open would refuse every other process.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kobe_assets.graph.lineage import Version, recorded_versions
from kobe_assets.research.panel import LISTING_GAP, Bools, Indices, Ints
from kobe_assets.research.quarantine import suspect_bars
from kobe_assets.research.strategies import Reading, Strategy
from kobe_assets.research.strategies.asking import satisfied
from kobe_resources.runtime.process_state import kept_process_state
from kobe_resources.runtime.sql_files import read_sql
from kobe_resources.warehouse.store import floats_of

if TYPE_CHECKING:
    import duckdb

    from kobe_resources.warehouse.store import Warehouse

Floats = NDArray[np.float64]
Days = NDArray[np.datetime64]
NUMBERS = ("score", "close", "raw_close", "stop_distance", "rsi2", "ibs", "sma200", "atr14")
"""The columns of a signal that are numbers, in the order of snapshot_signals.sql."""


@dataclass(frozen=True, slots=True)
class Signal:
    """A row of the signals table; prices adjusted but for raw_close. values: the strategy's other indicators, as read."""

    session: dt.date
    symbol: str
    side: str
    score: float
    close: float
    raw_close: float
    stop_distance: float
    rsi2: float
    ibs: float
    sma200: float
    atr14: float
    values: dict[str, float | None] = field(default_factory=dict)
    strategy: str = ""

    @property
    def is_long(self) -> bool:
        """Whether it buys."""
        return self.side == "long"

    def level(self, indicator: str) -> float:
        """An indicator's value as read, lagged; NaN where it is undefined."""
        value = getattr(self, indicator) if indicator in NUMBERS else self.values.get(indicator)
        return float("nan") if value is None else float(value)


@dataclass(frozen=True, slots=True)
class Split:
    """One split of a symbol."""

    symbol: str
    execution_date: dt.date
    split_from: float
    split_to: float


class _FlatBars(NamedTuple):
    """`quarantine.AdjustedBars` of some listings, one behind the other."""

    start: Ints
    symbol: Indices
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats


@dataclass(frozen=True, slots=True)
class Bars:
    """One symbol's bars in order, adjusted. indicators: name → values, NaN where undefined. suspect: true where no profit may
    come from a bar (rules, section 4.3); None: nowhere.
    """

    session: Days
    close: Floats
    factor: Floats
    indicators: dict[str, Floats]
    suspect: Bools | None = None

    def count(self, after: dt.date, through: dt.date) -> int:
        """How many bars lie after `after` and not after `through`."""
        left, right = self._places(after, through)
        return right - left

    @kept_process_state()
    def exit_signals(
        self, strategy: Strategy, params: dict[str, float], lag: int, is_long: bool, after: dt.date, through: dt.date
    ) -> list[bool]:
        """For each bar after `after` and not after `through`, whether the strategy exits at its close (rules, section 4.4)."""
        left, right = self._places(after, through)
        places = np.arange(left, right)
        read = places - lag
        known = read >= 0

        def late(values: Floats) -> Floats:
            return np.where(known, values[np.maximum(read, 0)], np.nan)

        missing = np.full(len(self.close), np.nan)
        reading = Reading(self.close[places], {name: late(self.indicators.get(name, missing)) for name in strategy.indicators})
        return [bool(leaves) for leaves in satisfied(strategy, "leave_long" if is_long else "leave_short", reading, params)]

    def doubted_gains(self, is_long: bool, entry: float, after: dt.date, through: dt.date) -> list[bool]:
        """For each bar after `after` and through `through`, whether it is suspect, on the winning side of the mark before it.

        entry: the adjusted price that the first of them is held against, as long as a position was opened at it.
        """
        left, right = self._places(after, through)
        if self.suspect is None:
            return [False] * (right - left)
        closes = self.close[left:right]
        moved = np.diff(closes, prepend=entry)
        return [bool(doubt) for doubt in self.suspect[left:right] & (moved > 0 if is_long else moved < 0)]

    def _places(self, after: dt.date, through: dt.date) -> tuple[int, int]:
        left = int(np.searchsorted(self.session, np.datetime64(after), side="right"))
        right = int(np.searchsorted(self.session, np.datetime64(through), side="right"))
        return left, max(left, right)


@dataclass(frozen=True)
class MarketSnapshot:
    """Sessions, signals, bars and splits up to the last stored one; each method takes the day that it answers for.

    sessions: stored sessions up to the last that was asked for; computed: those of them that the indicators know;
    last_stored: the last of all, in whose terms prices are adjusted. signals_fit_bars: False where the signals are on record
    as computed from other bars than those stored. dividends: (ex-date, dollars a share as traded then) by symbol.
    renames: (the day, the new symbol) by the old one.
    """

    sessions: Days
    last_stored: dt.date
    computed: frozenset[dt.date]
    signals: dict[dt.date, tuple[Signal, ...]]
    bars: dict[str, Bars]
    splits: dict[str, tuple[Split, ...]]
    dividends: dict[str, tuple[tuple[dt.date, float], ...]] = field(default_factory=dict)
    renames: dict[str, tuple[dt.date, str]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    signals_fit_bars: bool = True

    def latest_session(self, before: dt.date) -> dt.date | None:
        """The last stored session before `before`."""
        place = int(np.searchsorted(self.sessions, np.datetime64(before), side="left"))
        return _date(self.sessions[place - 1]) if place else None

    def signals_of(self, session: dt.date) -> tuple[Signal, ...]:
        """The session's signals in trading order."""
        return self.signals.get(session, ())

    def splits_between(self, symbol: str, after: dt.date, through: dt.date) -> list[Split]:
        """Splits of a symbol executed after `after` and not after `through`, oldest first."""
        return [split for split in self.splits.get(symbol, ()) if after < split.execution_date <= through]

    def names_of(self, symbol: str, after: dt.date, through: dt.date) -> list[str]:
        """The symbol and those that its company took after `after` and not after `through`, the latest last."""
        names, since = [symbol], after
        while names[-1] in self.renames:
            day, name = self.renames[names[-1]]
            # On the day itself the new name may be one that another company gives up.
            if not since < day <= through:
                break
            names.append(name)
            since = day
        return names

    def factor(self, symbol: str, session: dt.date) -> float:
        """Adjusted price = raw × factor on `session`, in the terms in which the stored prices are adjusted (rules, section 1).

        After the last stored session a split that takes effect turns the factor round: stored prices do not know it yet.
        """
        last, factor = self.last_stored, 1.0
        for split in self.splits.get(symbol, ()):
            if session < split.execution_date <= last:
                factor *= split.split_from / split.split_to
            elif last < split.execution_date <= session:
                factor *= split.split_to / split.split_from
        return factor


def load_market_snapshot(
    warehouse: Warehouse,
    strategies: str | Sequence[str],
    first: dt.date,
    last: dt.date,
    also: Iterable[str] = (),
    held_only: bool = False,
) -> MarketSnapshot:
    """The snapshot for signals of `first`..`last` and positions in the symbols `also`.

    strategies: one, or those of a book in its order. held_only: bars of `also` alone, for a look ahead in which no signal
    becomes a position: of each of hundreds of others the whole history would be read.
    last: nothing later than this is read, but for splits, which are announced ahead.
    """
    with warehouse.connect() as connection:
        sessions = connection.execute("SELECT DISTINCT session FROM daily_bars WHERE session <= ? ORDER BY session", [last])
        days = np.asarray(sessions.fetchnumpy()["session"]).astype("datetime64[D]")
        last_stored = connection.execute("SELECT max(session) FROM daily_bars").fetchall()[0][0]
        computed = connection.execute(
            "SELECT DISTINCT session FROM indicators WHERE session BETWEEN ? AND ?", [first, last]
        ).fetchall()
        names = [strategies] if isinstance(strategies, str) else list(strategies)
        own = [_signals_of(connection, name, first, last) for name in names]
        signals = [signal for some in own for signal in some]
        followed = set(also) if held_only else {signal.symbol for signal in signals} | set(also)
        renames = _renames_of(connection, followed)
        symbols = sorted(followed | {name for _, name in renames.values()})
        columns = connection.execute(sql("snapshot_bars"), {"symbols": symbols, "last": last}).fetchnumpy() if symbols else {}
        splits = _splits_of(connection)
        paid = _dividends_of(connection, symbols) if symbols else {}
        recorded = recorded_versions(connection)
    by_session: dict[dt.date, list[Signal]] = {}
    for signal in _interleaved(own):
        by_session.setdefault(signal.session, []).append(signal)
    return MarketSnapshot(
        sessions=days,
        last_stored=last_stored or last,
        computed=frozenset(row[0] for row in computed),
        signals={session: tuple(found) for session, found in by_session.items()},
        bars=_bars_by_symbol(columns, days) if symbols else {},
        splits=splits,
        dividends=paid,
        renames=renames,
        versions={name: f"{v.data_version} code {v.code_version} run {v.run_id}" for name, v in recorded.items()},
        signals_fit_bars=_fit(recorded),
    )


def _splits_of(connection: duckdb.DuckDBPyConnection) -> dict[str, tuple[Split, ...]]:
    """The splits of all symbols, oldest first."""
    rows = connection.execute("SELECT symbol, execution_date, split_from, split_to FROM splits ORDER BY execution_date")
    found: dict[str, list[Split]] = {}
    for row in rows.fetchall():
        found.setdefault(row[0], []).append(Split(*row))
    return {symbol: tuple(own) for symbol, own in found.items()}


def _dividends_of(connection: duckdb.DuckDBPyConnection, symbols: list[str]) -> dict[str, tuple[tuple[dt.date, float], ...]]:
    """The dividends of some symbols, oldest first."""
    sql_text = "SELECT symbol, ex_date, amount FROM dividends WHERE symbol IN (SELECT unnest(?)) ORDER BY ex_date"
    found: dict[str, list[tuple[dt.date, float]]] = {}
    for symbol, day, amount in connection.execute(sql_text, [symbols]).fetchall():
        found.setdefault(symbol, []).append((day, float(amount)))
    return {symbol: tuple(rows) for symbol, rows in found.items()}


def _renames_of(connection: duckdb.DuckDBPyConnection, symbols: set[str]) -> dict[str, tuple[dt.date, str]]:
    """The last change of the name of some symbols, and of those that they became."""
    found: dict[str, tuple[dt.date, str]] = {}
    left = symbols
    while left:
        changed = _renamed(connection, sorted(left))
        found |= changed
        left = {name for _, name in changed.values()} - found.keys()
    return found


def _renamed(connection: duckdb.DuckDBPyConnection, symbols: list[str]) -> dict[str, tuple[dt.date, str]]:
    sql_text = (
        "SELECT symbol, ex_date, other_symbol FROM corporate_actions WHERE kind = 'name_change' AND other_symbol IS NOT NULL"
        " AND symbol IN (SELECT unnest(?)) ORDER BY ex_date"
    )
    return {symbol: (day, other) for symbol, day, other in connection.execute(sql_text, [symbols]).fetchall()}


def _signals_of(connection: duckdb.DuckDBPyConnection, strategy: str, first: dt.date, last: dt.date) -> list[Signal]:
    """One strategy's signals in trading order."""
    rows = connection.execute(sql("snapshot_signals"), {"strategy": strategy, "first": first, "last": last}).fetchall()
    return [_signal(row, strategy) for row in rows]


def _interleaved(own: list[list[Signal]]) -> list[Signal]:
    """The trading order of a book: each strategy's best signal of a session, then each one's second (rules, section 3)."""
    ranked: list[tuple[dt.date, int, int, Signal]] = []
    for place, signals in enumerate(own):
        ranks: dict[dt.date, int] = {}
        for signal in signals:
            ranks[signal.session] = rank = ranks.get(signal.session, 0) + 1
            ranked.append((signal.session, rank, place, signal))
    return [row[3] for row in sorted(ranked, key=lambda row: row[:3])]


def sql(name: str) -> str:
    """The text of a .sql file of this package."""
    return read_sql(Path(__file__).parent, name)


def _signal(row: tuple[Any, ...], strategy: str) -> Signal:
    session, symbol, side, *numbers, values = row
    columns: dict[str, Any] = dict(zip(NUMBERS, map(_number, numbers), strict=True))
    columns["values"] = json.loads(values or "{}")
    return Signal(session=session, symbol=symbol, side=side, strategy=strategy, **columns)


def _bars_by_symbol(columns: dict[str, Any], sessions: Days) -> dict[str, Bars]:
    names = columns["symbol"]
    if not len(names):
        return {}
    starts = np.flatnonzero(np.concatenate([[True], names[1:] != names[:-1]]))
    ends = np.append(starts[1:], len(names))
    days = columns["session"].astype("datetime64[D]")
    values = {name: floats_of(column) for name, column in columns.items() if name not in ("symbol", "session")}
    close, factor = values.pop("close"), values.pop("factor")
    opened, high, low, volume = (values.pop(f"bar_{name}") for name in ("open", "high", "low", "volume"))
    # A listing ends where more than some sessions have no bar of it.
    gaps = np.diff(np.searchsorted(sessions, days), prepend=0) > LISTING_GAP + 1
    gaps[starts] = True
    listing = np.cumsum(gaps) - 1
    start = np.append(np.flatnonzero(gaps), len(names))
    doubted = suspect_bars(_FlatBars(start, listing.astype(np.int32), opened, high, low, close, volume))
    return {
        str(names[a]): Bars(
            days[a:b], close[a:b], factor[a:b], {name: column[a:b] for name, column in values.items()}, doubted[a:b]
        )
        for a, b in zip(starts, ends, strict=True)
    }  # fmt: skip


def _fit(recorded: dict[str, Version]) -> bool:
    """The signals were computed from the bars and indicators that are stored; nothing on record is no contradiction."""
    signals = recorded.get("signals")
    if signals is None:
        return True
    return all(
        signals.inputs.get(name) == recorded[name].data_version for name in ("daily_bars", "indicators") if name in recorded
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _date(day: Any) -> dt.date:
    value: dt.date = day.astype("datetime64[D]").item()
    return value
