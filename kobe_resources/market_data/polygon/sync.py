"""One sync of the vendor `polygon`, step by step: candidates, splits, missing bars, re-pull, options, done.

Every step commits with its checkpoint; a step whose checkpoint stands is not repeated. Trusts its caller to run one at
a time.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from kobe_resources import calendar
from kobe_resources.calendar import NEW_YORK
from kobe_resources.errors import UsageError
from kobe_resources.market_data.changes import Changes, StoreTotals
from kobe_resources.market_data.companions import (
    record_options,
    replace_candidates,
)
from kobe_resources.market_data.over_network import LIST_LASTS, SURELY_PUBLISHED_AFTER, candidates_without_bars, hash_of
from kobe_resources.market_data.polygon.actions import PolygonActions, Splits
from kobe_resources.market_data.polygon.candidates import candidates_of_file, candidates_of_vendor
from kobe_resources.market_data.polygon.checkpoints import (
    VENDOR,
    LoadState,
    Mark,
    clip_coverage,
    empty_sessions,
    forget,
    misdated_symbols,
    read_state,
    save_mark,
    save_refusals,
    symbols_with_gaps,
)
from kobe_resources.market_data.polygon.client import PolygonClient
from kobe_resources.market_data.polygon.errors import (
    LEAVE_OUT,
    NO_BARS,
    PolygonEntitlementError,
    PolygonIncomplete,
    PolygonNotFound,
)
from kobe_resources.market_data.polygon.loader import Loader
from kobe_resources.market_data.polygon.plan import DAY, RangeCall, Span, plan_calls
from kobe_resources.market_data.polygon.rows import RefusedRow
from kobe_resources.market_data.set_aside import why_no_bars, with_wrong_dates
from kobe_resources.market_data.store import (
    begin_source,
    drop_stored_duplicates,
    record_load,
    refuse_other_source,
    store_totals,
    take_back,
)
from kobe_resources.market_data.twins import drop_twins, forget_twins, known_twins

if TYPE_CHECKING:
    import pandas as pd

    from kobe_resources.market_data.over_network import RetryBudget
    from kobe_resources.market_data.protocol import Progress
    from kobe_resources.settings.models import Settings
    from kobe_resources.warehouse.store import Warehouse

YEARS = 11
CLIPPED_AFTER = 6
"""So many sessions without a bar of anybody at the start of a span are no accident."""
REPULLED_SESSIONS = 3
WATCHED_DAYS = 10
"""In a longer catch-up than this, single symbols that lack on a day are not asked for one by one."""


class CandidateList(NamedTuple):
    """frame: the new list, None where the stored one stands. key: says of which file, or of which list, it is."""

    symbols: list[str]
    key: str
    frame: pd.DataFrame | None
    refused: tuple[RefusedRow, ...]


class Sync:
    """Brings `warehouse` up to the vendor once. skipped, changes, calls, totals: what it came to."""

    def __init__(
        self, settings: Settings, warehouse: Warehouse, progress: Progress, now: Callable[[], dt.datetime], force: bool
    ) -> None:
        self.skipped = False
        self.changes = Changes()
        self.calls = 0
        self.notes: tuple[str, ...] = ()
        self.totals = StoreTotals(0, 0, 0, None, None)
        self._settings = settings
        self._polygon = settings.data.polygon
        self._warehouse = warehouse
        self._progress = progress
        self._now = now
        self._force = force
        self._today = now().astimezone(NEW_YORK).date()
        self._delisted = self._polygon.first_load == "grouped" or settings.universe.membership == "point_in_time"
        self._state = LoadState()

    def run(self, key: str | None, fingerprint: str, budget: RetryBudget | None = None) -> None:
        """See PolygonVendor.sync."""
        span = self._wanted_span()
        if not self._force:
            refuse_other_source(self._warehouse, VENDOR)
        wanted = (("options", self._settings.universe.require_options), ("delisted", self._delisted))
        load_key = "+".join([fingerprint, *(what for what, is_wanted in wanted if is_wanted)])
        with self._warehouse.connect() as connection:
            self._state = read_state(connection)
            self.skipped = self._stands(span, load_key)
            if self.skipped:
                self.totals = store_totals(connection)
                return
        polygon = self._polygon
        client = PolygonClient(key, polygon.base_url, polygon.calls_per_minute, polygon.in_flight, budget)
        loader = Loader(
            client, self._warehouse, self._state, self._progress, polygon.in_flight, polygon.calls_per_minute, self._now
        )
        try:
            candidates = self._candidates(client)
            span = self._within_plan(self._published(span, client, loader), client)
            self.skipped = self._stands(span, load_key)
            if self.skipped:
                with self._warehouse.connect() as connection:
                    self.totals = store_totals(connection)
                return
            actions = PolygonActions(client, self._warehouse, self._state, self._now, self._force)
            self._begin(candidates, actions.splits(candidates.symbols, span), actions)
            self._bars(loader, client, self._worth_asking(loader, candidates.symbols, span), span)
            self._drop_misdated(loader, span)
            self._drop_twins(loader)
            span = self._begun(span)
            actions.dividends(candidates.symbols, span)
            self.notes += actions.notes
            self._options(loader, candidates.symbols)
            self._finish(loader, span, fingerprint, load_key)
        finally:
            client.close()
            self.calls = client.calls
            self.changes = loader.changes

    def _wanted_span(self) -> Span:
        """From data.start (none: 11 years back) to data.end or the last session that is over; both ends are sessions."""
        data = self._settings.data
        over = calendar.latest_complete_session(self._now(), calendar.BARS_PUBLISHED_AFTER)
        last = min(data.end, over) if data.end else over
        first = data.start or self._today - dt.timedelta(days=round(YEARS * 365.25))
        sessions = calendar.sessions(first, last).tolist()
        if not sessions:
            raise UsageError(f"no session lies between {first} and {last}", "widen data.start and data.end")
        return Span(sessions[0], sessions[-1])

    def _stands(self, span: Span, load_key: str) -> bool:
        done = self._state.marks.get("load")
        stands = done and done.key == load_key and done.span.first <= span.first and span.last <= done.span.last
        return bool(stands) and not self._force

    def _published(self, span: Span, client: PolygonClient, loader: Loader) -> Span:
        """The span up to the last session the vendor has: one that just closed may still lack there."""
        done = self._state.marks.get("load")
        fresh = self._now() - calendar.close_time(span.last) < SURELY_PUBLISHED_AFTER
        if not fresh or (done and done.span.last >= span.last):
            return span
        rows = client.grouped_day(span.last, twice=False)
        if rows:
            loader.known_days[span.last] = rows
            return span
        return Span(span.first, max(span.first, calendar.previous_session(span.last)))

    def _candidates(self, client: PolygonClient) -> CandidateList:
        """From the file, or from the vendor where its stored list is too old."""
        if self._polygon.candidates:
            frame = candidates_of_file(self._polygon.candidates)
            key = hash_of(frame.astype(str).to_numpy().tolist())
            return self._unless_stored(CandidateList(frame["symbol"].tolist(), key, frame, ()))
        key = "common stocks, delisted too" if self._delisted else "common stocks"
        listed = self._state.marks.get("candidates")
        if listed and listed.key == key and self._now() - listed.done_at < LIST_LASTS:
            return CandidateList(self._state.candidates, key, None, ())
        frame, refused = candidates_of_vendor(client, self._delisted)
        return CandidateList(frame["symbol"].tolist(), key, frame, refused)

    def _unless_stored(self, candidates: CandidateList) -> CandidateList:
        listed = self._state.marks.get("candidates")
        return candidates._replace(frame=None) if listed and listed.key == candidates.key else candidates

    def _begin(self, candidates: CandidateList, splits: Splits | None, actions: PolygonActions) -> None:
        """The first transaction: from here on the store is this vendor's."""
        at = self._now()
        with self._warehouse.transaction() as connection:
            if begin_source(connection, VENDOR, at):
                forget(connection)
            if self._force:
                drop_stored_duplicates(connection)
            if candidates.frame is not None:
                replace_candidates(connection, candidates.frame.drop(columns="has_options"), VENDOR)
                known = candidates.frame.dropna(subset="has_options")
                record_options(connection, known.astype({"has_options": bool}), VENDOR, at)
                self._state.asked.update(known["symbol"])
                mark = Mark(candidates.key, Span(self._today, self._today), len(candidates.symbols), at)
                save_mark(connection, "candidates", mark)
            save_refusals(connection, candidates.refused, at)
            if splits is not None:
                # Who left the list keeps the splits of the bars that stay.
                actions.store_splits(connection, splits, {*candidates.symbols, *self._state.coverage}, at)

    def _within_plan(self, span: Span, client: PolygonClient) -> Span:
        """The span without the days that the plan did not give when it was last asked; all of it where now it does.

        One symbol is asked for them, once a sync: an upgrade is seen without asking for all.
        """
        clipped = self._state.marks.get("plan")
        if clipped is None or clipped.span.last <= span.first or clipped.span.last > span.last:
            return span
        try:
            rows = client.range_bars(clipped.key, span.first, clipped.span.last - DAY, twice=False)
        except (PolygonEntitlementError, PolygonNotFound):
            rows = []
        return span if rows else Span(clipped.span.last, span.last)

    def _begun(self, span: Span) -> Span:
        """The span from the day on which the vendor's bars begin, where that is clearly later than was asked for.

        A plan answers with the part that it covers and does not say so: coverage is recorded from that day, and the first
        symbol that begins there is kept, to be asked whether there is more by now.
        """
        at = self._now()
        with self._warehouse.transaction() as connection:
            rows = connection.execute(
                "SELECT min(symbol), session FROM daily_bars SEMI JOIN candidates USING (symbol) "
                "GROUP BY session ORDER BY session LIMIT 1"
            ).fetchall()
            if not rows or len(calendar.sessions(span.first, rows[0][1])) <= CLIPPED_AFTER:
                connection.execute("DELETE FROM bar_checkpoints WHERE vendor = ? AND kind = 'plan'", [VENDOR])
                return span
            symbol, first = rows[0]
            clip_coverage(connection, first)
            save_mark(connection, "plan", Mark(symbol, Span(span.first, first), 0, at))
        coverage = self._state.coverage
        coverage |= {each: Span(first, known.last) for each, known in coverage.items() if known.first < first <= known.last}
        self.notes += (f"Polygon's bars begin on {first}, not on {span.first}: a later start, or the plan's reach",)
        return Span(first, span.last)

    def _first_day_of_plan(self, client: PolygonClient, symbol: str, span: Span) -> dt.date | None:
        """The first session from which on the plan gives bars, by halving; None where it gives none of the span."""
        sessions: list[dt.date] = calendar.sessions(*span).tolist()

        def gives(place: int) -> bool:
            try:
                if self._polygon.first_load == "grouped":
                    client.grouped_day(sessions[place], twice=False)
                else:
                    client.range_bars(symbol, sessions[place], span.last, twice=False)
            except PolygonEntitlementError:
                return False
            return True

        if not gives(len(sessions) - 1):
            return None
        return sessions[bisect_left(range(len(sessions) - 1), True, key=gives)]

    def _worth_asking(self, loader: Loader, symbols: list[str], span: Span) -> list[str]:
        """Without the symbols whose bars an earlier load took back: on a few days nothing shows what is wrong with them."""
        wrong = self._wrongly_dated(symbols)
        if self._force and wrong:
            loader.ranges([RangeCall(symbol, span) for symbol in sorted(wrong)])
            wrong = self._wrongly_dated(symbols)
        with self._warehouse.connect() as connection:
            twins = set() if self._force or self._polygon.candidates else known_twins(connection, VENDOR)
        return [symbol for symbol in symbols if symbol not in twins | wrong]

    def _wrongly_dated(self, symbols: list[str]) -> set[str]:
        """Those of which no bar is stored, since all were a day off."""
        with self._warehouse.connect() as connection:
            stored = {symbol for (symbol,) in connection.execute("SELECT DISTINCT symbol FROM daily_bars").fetchall()}
            return set(with_wrong_dates(connection, VENDOR, [symbol for symbol in symbols if symbol not in stored]))

    def _bars(self, loader: Loader, client: PolygonClient, symbols: list[str], span: Span) -> None:
        """`_missing_bars`; where the plan refuses a part of the span, the error names the first day that it gives."""
        try:
            self._missing_bars(loader, symbols, span)
        except PolygonEntitlementError as error:
            first = self._first_day_of_plan(client, symbols[0], span)
            if first is None or first == span.first:
                raise
            raise PolygonEntitlementError(
                f"{error.what}; it gives bars from {first} on",
                f'set data.start = "{first}" or get a plan that covers {span.first}',
            ) from None

    def _missing_bars(self, loader: Loader, symbols: list[str], span: Span) -> None:
        """What is missing, the last sessions once more, then the symbols that stayed behind; forced: every hole too."""
        coverage = self._state.coverage
        sessions: list[dt.date] = calendar.sessions(*span).tolist()
        gaps, empty = self._holes(sessions) if self._force else (set(), [])
        whole = {symbol: known for symbol, known in coverage.items() if symbol not in gaps}
        plan = plan_calls(whole, symbols, span, sessions, self._polygon.first_load)
        done = self._state.marks.get("load")
        watched = plan.days if done and len(plan.days) <= WATCHED_DAYS else ()
        loader.ranges(plan.ranges)
        # None beyond the span: the days would have a hole, and the coverage would not.
        repulled = set(_last_sessions(done.span.last) if done else ()).intersection(sessions)
        loader.days(sorted({*plan.days, *repulled, *empty}), plan.day_symbols, frozenset(symbols), watched, span)
        behind = [symbol for symbol in symbols if symbol in coverage and coverage[symbol].last < span.last]
        calls = [RangeCall(symbol, Span(coverage[symbol].last + DAY, span.last)) for symbol in behind]
        loader.ranges([call for call in calls if call.symbol not in loader.failures])

    def _drop_misdated(self, loader: Loader, span: Span) -> None:
        """Take back the bars of symbols whose dates are a day off, by an answer over all days, which shows their weekends."""
        with self._warehouse.connect() as connection:
            symbols = [symbol for symbol in misdated_symbols(connection) if symbol not in loader.failures]
        if not symbols:
            return
        loader.ranges([RangeCall(symbol, span) for symbol in symbols])
        at = self._now()
        with self._warehouse.transaction() as connection:
            for symbol in with_wrong_dates(connection, VENDOR, symbols):
                taken = take_back(connection, symbol, span.last + DAY, at)
                loader.changes += taken
                self.notes += (f"{taken.removed:,} bars of {symbol} taken back: its dates are a day off",)

    def _drop_twins(self, loader: Loader) -> None:
        """After a load of all bars, leave one name of each company, unless a person's list says that they are two."""
        if ("load" in self._state.marks and not self._force) or self._polygon.candidates:
            return
        with self._warehouse.transaction() as connection:
            if self._force:
                forget_twins(connection, VENDOR)
            changes, counted = drop_twins(connection, VENDOR, self._now())
        loader.changes += changes
        self.notes += tuple(f"{count:,} {what}" for what, count in counted.items())

    def _holes(self, sessions: list[dt.date]) -> tuple[set[str], list[dt.date]]:
        """Symbols whose bars have gaps, and sessions without a bar, covered or not.

        By ranges, a session before the first bar of all symbols is no gap: an answer with rows lacks none.
        """
        with self._warehouse.connect() as connection:
            gaps, empty = symbols_with_gaps(connection, sessions), empty_sessions(connection, sessions)
            first = store_totals(connection).first_session
        by_days = self._polygon.first_load == "grouped"
        return set(gaps), [day for day in empty if first and (by_days or day > first)]

    def _options(self, loader: Loader, symbols: list[str]) -> None:
        if not self._settings.universe.require_options:
            return
        try:
            bars_failed = set(loader.failures)
            loader.options([symbol for symbol in symbols if symbol not in self._state.asked])
            for symbol in loader.failures.keys() - bars_failed:
                # Unknown is not none: the symbol stays out of the universe, and is asked for again.
                self.notes += (f"options of {symbol} could not be read: {loader.failures.pop(symbol).what}",)
        except PolygonEntitlementError as error:
            raise PolygonEntitlementError(
                error.what, "set universe.require_options = false, or give has_options in the candidates file"
            ) from None

    def _finish(self, loader: Loader, span: Span, fingerprint: str, load_key: str) -> None:
        """Say that the span is complete, or raise PolygonIncomplete with the symbols that failed."""
        counted = (("bars widened to their open or close", loader.widened), ("bad rows set aside", loader.bad_rows))
        self.notes += tuple(f"{count:,} {what}" for what, count in counted if count)
        if loader.failures:
            first, error = next(iter(loader.failures.items()))
            raise PolygonIncomplete(f"{len(loader.failures)} symbols could not be loaded ({first}: {error.what}, …)", LEAVE_OUT)
        if not loader.has_bars():
            with self._warehouse.connect() as connection:
                why = why_no_bars(connection, VENDOR)
            sound = "sound " if why else ""
            what = f"Polygon sent no {sound}bar of any candidate from {span.first} to {span.last}{why}"
            raise PolygonIncomplete(what, NO_BARS)
        at = self._now()
        with self._warehouse.transaction() as connection:
            record_load(connection, VENDOR, fingerprint, loader.changes, at)
            save_mark(connection, "load", Mark(load_key, span, loader.changes.added, at))
            self.totals = store_totals(connection)
            self.notes += candidates_without_bars(connection) if self._polygon.candidates else ()


def _last_sessions(last: dt.date) -> list[dt.date]:
    """The sessions that are read once more, the newest of them `last`."""
    days: list[dt.date] = calendar.sessions(last - dt.timedelta(days=15), last).tolist()
    return days[-REPULLED_SESSIONS:]
