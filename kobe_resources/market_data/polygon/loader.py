"""Calls in flight, rows in batches, every batch one transaction with its checkpoints: what was committed is never asked again.

Killed at any moment, at most the answers not yet committed are lost, a few seconds' worth. Trusts its caller for the plan.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TYPE_CHECKING, TypeVar

from kobe_resources.market_data.changes import Changes
from kobe_resources.market_data.companions import record_options
from kobe_resources.market_data.polygon.checkpoints import (
    VENDOR,
    LoadState,
    keep_known_optional,
    save_bad_rows,
    save_coverage,
    save_days,
)
from kobe_resources.market_data.polygon.errors import (
    PolygonError,
    PolygonIncomplete,
    PolygonMalformed,
    PolygonNotFound,
    PolygonRefused,
    PolygonServerError,
    PolygonTransportError,
)
from kobe_resources.market_data.polygon.plan import RangeCall, Span, merged, usable
from kobe_resources.market_data.polygon.probes import Probes
from kobe_resources.market_data.polygon.rows import BarColumns, Row, frame_of, grouped_bars, range_bars, stable_read
from kobe_resources.market_data.set_aside import keep_storable
from kobe_resources.market_data.store import upsert_bars

if TYPE_CHECKING:
    from kobe_resources.market_data.polygon.client import PolygonClient
    from kobe_resources.market_data.protocol import Progress
    from kobe_resources.warehouse.store import Warehouse

T = TypeVar("T")
R = TypeVar("R")

COMMIT_ROWS = 400_000
COMMIT_AFTER_S = 2.0
AHEAD = 4
"""Calls handed out ahead of the one waited for, in multiples of those in flight: bounds the memory of answers that wait."""
FAILURES_IN_A_ROW = 10
"""So many symbols failing one after the other are no longer the symbols' fault."""
OUTAGES_IN_A_ROW = 3
"""So many without an answer at all are an outage, which would cost every symbol all its retries."""
OUTAGES = (PolygonServerError, PolygonTransportError)
OF_ONE_SYMBOL = (PolygonMalformed, PolygonIncomplete, PolygonNotFound, PolygonRefused, *OUTAGES)


class Loader:
    """Runs the calls of one sync; `changes` and `failures` grow as it goes. Not for several threads.

    calls_per_minute: the plan's rate, for the estimate of the time left; 0: none.
    """

    def __init__(
        self,
        client: PolygonClient,
        warehouse: Warehouse,
        state: LoadState,
        progress: Progress,
        in_flight: int,
        calls_per_minute: float,
        now: Callable[[], dt.datetime],
    ) -> None:
        self.changes = Changes()
        self.failures: dict[str, PolygonError] = {}
        self.widened = self.bad_rows = 0
        self.known_days: dict[dt.date, list[Row]] = {}
        self._client = client
        self._warehouse = warehouse
        self._state = state
        self._progress = progress
        self._in_flight = in_flight
        self._calls_per_minute = calls_per_minute
        self._now = now

    def day(self, session: dt.date, wanted: frozenset[str], probes: Probes) -> BarColumns:
        """The bars of `wanted` on one day of the market; rows in `known_days` are not asked for again, unless they are bad.

        Raises PolygonIncomplete where there are none on a session that the `probes` do not deny.
        """

        def ask() -> BarColumns:
            denied = probes.have_denied(session)
            rows = self.known_days.pop(session, []) or self._client.grouped_day(session, twice=not denied)
            if not rows and not denied:
                probes.must_deny(session)
            return grouped_bars(rows, session, wanted)

        return stable_read(lambda: self._client.reread(ask))

    def ranges(self, calls: Sequence[RangeCall]) -> None:
        """Load symbols; one that fails for itself is kept in `failures` and the others go on.

        An empty answer counts only after some candidate had bars: where all come back empty, nothing is covered.
        """
        doubtful: list[tuple[RangeCall, BarColumns]] | None = [] if calls and not self.has_bars() else None

        def fetch(call: RangeCall) -> BarColumns:
            def ask() -> BarColumns:
                return range_bars(self._client.range_bars(call.symbol, *call.span), call.symbol, *call.span)

            return stable_read(lambda: self._client.reread(ask))

        def commit(batch: list[tuple[RangeCall, BarColumns]]) -> None:
            nonlocal doubtful
            if doubtful is not None:
                batch = [*doubtful, *batch]
                doubtful = None if any(len(bars) for _, bars in batch) else batch
                if doubtful:
                    return
            coverage: dict[str, Span] = {}
            for call, _ in batch:
                known = coverage.get(call.symbol) or self._state.coverage.get(call.symbol)
                coverage[call.symbol] = merged(known, call.span)
            self._store([bars for _, bars in batch], coverage, {})

        self._run(calls, fetch, commit, f"{len(calls):,} symbols", "symbols", lambda call: call.symbol)
        if doubtful:
            # Nothing is covered; rows that were refused say why.
            self._store([bars for _, bars in doubtful], {}, {})

    def days(
        self,
        days: Sequence[dt.date],
        symbols: frozenset[str],
        wanted: frozenset[str],
        watched: Collection[dt.date],
        span: Span,
    ) -> None:
        """Load days of the market in order, keep the `wanted` symbols, and bring the coverage of `symbols` forward.

        watched: the days on which a symbol that traded the session before and lacks stays behind, for a range call to
        settle; so it does on a day with a row whose ticker cannot be read. span: what the days are part of; where the
        coverage of a symbol begins that had none.
        """
        traded: set[str] | None = None
        behind: set[str] = set()

        def commit(batch: list[tuple[dt.date, BarColumns]]) -> None:
            nonlocal traded
            coverage: dict[str, Span] = {}
            reached: dt.date | None = None
            for day, bars in batch:
                here = set(bars.symbols)
                if day in watched or bars.unreadable:
                    traded = self._traded_before(day) if traded is None else traded
                    stopped = (traded - here) & symbols - behind
                    coverage |= self._forward(stopped, reached, span)
                    behind.update(stopped)
                traded, reached = here, day
            coverage |= self._forward(symbols - behind, reached, span)
            self._store([bars for _, bars in batch], coverage, {day: len(bars) for day, bars in batch})

        probes = Probes(self._client, wanted, span)
        self._run(days, lambda day: self.day(day, wanted, probes), commit, f"{len(days):,} days of the market", "days", None)

    def options(self, symbols: Sequence[str]) -> None:
        """Ask which symbols have listed options, one call each."""

        def commit(batch: list[tuple[str, bool]]) -> None:
            import pandas as pd

            frame = pd.DataFrame(batch, columns=["symbol", "has_options"])
            with self._warehouse.transaction() as connection:
                record_options(connection, frame, VENDOR, self._now())
            self._state.asked.update(symbol for symbol, _ in batch)

        self._run(symbols, self._client.has_options, commit, f"options of {len(symbols):,} symbols", "symbols", str)

    def has_bars(self) -> bool:
        """Whether a bar of any candidate is stored."""
        return bool(self._warehouse.rows("SELECT 1 FROM daily_bars SEMI JOIN candidates USING (symbol) LIMIT 1"))

    def _store(self, parts: list[BarColumns], coverage: dict[str, Span], days: dict[dt.date, int]) -> None:
        """Rows and checkpoints in one transaction; what is remembered in memory changes only after it."""
        at = self._now()
        frame = frame_of(parts)
        rows = Counter(frame["symbol"].tolist()) if coverage else Counter()
        refused = [refusal for part in parts for refusal in part.refused]
        with self._warehouse.transaction() as connection:
            frame = keep_storable(connection, keep_known_optional(connection, frame), VENDOR, at)
            save_bad_rows(connection, refused, at)
            changes = upsert_bars(connection, frame, VENDOR, at) if len(frame) else Changes()
            save_coverage(connection, coverage, rows, at)
            save_days(connection, days, at)
        self.widened += sum(part.widened for part in parts)
        self.bad_rows += len(refused)
        self._state.coverage.update(coverage)
        self.changes = self.changes + changes

    def _forward(self, symbols: Iterable[str], reached: dt.date | None, span: Span) -> dict[str, Span]:
        """The coverage of those `symbols` that did not reach that far yet."""
        if reached is None:
            return {}
        known = {symbol: usable(self._state.coverage.get(symbol), span) or Span(span.first, dt.date.min) for symbol in symbols}
        return {symbol: Span(have.first, reached) for symbol, have in known.items() if have.last < reached}

    def _traded_before(self, day: dt.date) -> set[str]:
        """The symbols with a stored bar on the last stored session before `day`."""
        rows = self._warehouse.rows(
            "SELECT symbol FROM daily_bars WHERE session = (SELECT max(session) FROM daily_bars WHERE session < $day)",
            {"day": day},
        )
        return {row[0] for row in rows}

    def _run(
        self,
        tasks: Sequence[T],
        fetch: Callable[[T], R],
        commit: Callable[[list[tuple[T, R]]], None],
        what: str,
        unit: str,
        name: Callable[[T], str] | None,
    ) -> None:
        """Fetch `tasks`, commit their results in order and in batches. name: None where a failure of one ends all."""
        if not tasks:
            return
        pace = _Pace(len(tasks), self._calls_per_minute, self._client.due_s)
        self._progress.start(f"{what}, {pace.plan()}", len(tasks), unit)
        pending: list[tuple[T, R]] = []
        failed_in_a_row = 0

        def flush() -> None:
            if pending:
                commit(pending)
                self._progress.advance(len(pending), pace.left(len(pending)))
                pending.clear()

        outcomes = in_order(tasks, fetch, self._in_flight, alone=name is not None)
        committed_at = time.monotonic()
        with contextlib.ExitStack() as stack:
            # Whatever ends this, an interrupt too, what has arrived is committed first.
            stack.callback(flush)
            stack.callback(outcomes.close)
            for outcome in outcomes:
                if outcome is not None:
                    task, result, error = outcome
                    if error is None and result is not None:
                        pending.append((task, result))
                        failed_in_a_row = 0
                    elif error is not None and name is not None:
                        self.failures[name(task)] = error
                        failed_in_a_row += 1
                        if failed_in_a_row >= FAILURES_IN_A_ROW:
                            raise error
                rows = sum(len(result) for _, result in pending if isinstance(result, BarColumns))
                if rows >= COMMIT_ROWS or time.monotonic() - committed_at >= COMMIT_AFTER_S:
                    flush()
                    committed_at = time.monotonic()


def in_order(
    tasks: Iterable[T], fetch: Callable[[T], R], in_flight: int, alone: bool
) -> Generator[tuple[T, R | None, PolygonError | None] | None, None, None]:
    """Each task with its result or its own error, in order; None now and then while one is awaited.

    An error that concerns every task (no key, no plan, several in a row without an answer), or any error unless tasks stand
    `alone`, is raised; results that stand alone and had arrived by then are yielded first, after an interrupt too.
    """
    outages = 0
    waiting: deque[tuple[T, Future[R]]] = deque()
    rest = iter(tasks)
    pool = ThreadPoolExecutor(in_flight, thread_name_prefix="polygon")
    try:
        while True:
            while len(waiting) < in_flight * AHEAD and (task := next(rest, None)) is not None:
                waiting.append((task, pool.submit(fetch, task)))
            if not waiting:
                return
            try:
                result = waiting[0][1].result(timeout=COMMIT_AFTER_S)
            except FutureTimeout:
                yield None
                continue
            except OF_ONE_SYMBOL as error:
                outages = outages + 1 if isinstance(error, OUTAGES) else 0
                if not alone or outages == OUTAGES_IN_A_ROW:
                    yield from _arrived(waiting) if alone else ()
                    raise
                yield waiting.popleft()[0], None, error
                continue
            except (PolygonError, KeyboardInterrupt):
                yield from _arrived(waiting) if alone else ()
                raise
            outages = 0
            yield waiting.popleft()[0], result, None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _arrived(waiting: deque[tuple[T, Future[R]]]) -> Iterator[tuple[T, R, None]]:
    for task, future in waiting:
        if future.done() and not future.cancelled() and future.exception() is None:
            yield task, future.result(), None


class _Pace:
    """How long `total` calls take: by the plan's rate beforehand, by that or the measured one, whichever is slower, later.

    due_s: when the last of some more calls may go; the calls of a plan's first minute go at once, and say nothing of the rest.
    """

    def __init__(self, total: int, calls_per_minute: float, due_s: Callable[[int], float]) -> None:
        self._left = total
        self._done = 0
        self._per_call_s = 60.0 / calls_per_minute if calls_per_minute else 0.0
        self._per_minute = calls_per_minute
        self._due_s = due_s
        self._began = time.monotonic()

    def plan(self) -> str:
        """The estimate before the first call."""
        if not self._per_call_s:
            return "no rate limit"
        return f"about {spoken(self._left * self._per_call_s)} at {self._per_minute:g} calls a minute"

    def left(self, done: int) -> str:
        """The estimate after `done` more calls."""
        self._done += done
        self._left -= done
        measured_s = (time.monotonic() - self._began) / self._done
        left_s = max(self._left * max(measured_s, self._per_call_s), self._due_s(self._left))
        return f"about {spoken(left_s)} left" if self._left else "done"


def spoken(seconds: float) -> str:
    """A duration as a person says it: 40 s, 12 min, 3 h 10 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
