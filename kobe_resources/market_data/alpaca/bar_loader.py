"""Bars of one sync: what is missing, batch by batch, each stored with its checkpoint; a company once, under one name."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from kobe_resources import calendar
from kobe_resources.calendar import NEW_YORK
from kobe_resources.market_data.alpaca.bars import Page, Sessions, join_pages, read_page
from kobe_resources.market_data.alpaca.bars import ReadBars as ReadBatch
from kobe_resources.market_data.alpaca.client import AlpacaDataClient, BarsCall, follow
from kobe_resources.market_data.alpaca.errors import AlpacaIncomplete, AlpacaInvalidSymbol, AlpacaMalformed
from kobe_resources.market_data.alpaca.load import FIRST_DAY, TRIES, VENDOR, AlpacaLoad
from kobe_resources.market_data.alpaca.plan import (
    Ask,
    Lives,
    SymbolBatch,
    batches_of,
    calls_of,
    missing_spans,
)
from kobe_resources.market_data.changes import Changes
from kobe_resources.market_data.over_network import RESUMES, SURELY_PUBLISHED_AFTER
from kobe_resources.market_data.polygon.checkpoints import (
    empty_sessions,
    keep_known_optional,
    save_bad_rows,
    save_coverage,
    symbols_with_gaps,
)
from kobe_resources.market_data.polygon.loader import spoken
from kobe_resources.market_data.polygon.plan import DAY, Span, merged
from kobe_resources.market_data.polygon.rows import RefusedRow, frame_of
from kobe_resources.market_data.set_aside import keep_storable
from kobe_resources.market_data.store import store_totals, take_back, upsert_bars
from kobe_resources.market_data.twins import drop_twins, forget_twins

if TYPE_CHECKING:
    import duckdb


YOUNGEST = dt.timedelta(minutes=16)
"""The free plan gives no price of the last 15 minutes; clocks differ by seconds."""
QUIET_PASSES, MOST_PASSES = 2, 500
"""Answers in a row that bring nothing new before what lacks is believed not to be there; and answers in all."""


class BarLoader:
    """Reads and stores the bars of a load."""

    def __init__(self, load: AlpacaLoad) -> None:
        self._load = load
        self._stamps = Sessions()
        self._is_first_load = False

    def load_bars(self, client: AlpacaDataClient, symbols: Sequence[str], lives: Lives, span: Span) -> Span:
        """Load what is missing, batch by batch; the span that all of them reached."""
        sessions: list[dt.date] = calendar.sessions(*span).tolist()
        candidates = set(symbols)
        self._load.left_out |= dict.fromkeys(
            symbol for symbol in symbols if symbol in self._load.invalid and not self._load.force
        )
        unasked = self._load.left_out.keys() | (set() if self._load.force else self._load.twins)
        asked = [symbol for symbol in symbols if symbol not in unasked]
        self._is_first_load = not self._load.state.coverage.keys() >= set(asked)
        gaps = self._with_gaps(sessions)
        covered = {symbol: done for symbol, done in self._load.state.coverage.items() if symbol not in gaps}
        missing = missing_spans(covered, asked, span, sessions, reread=self._load.force)
        batches = batches_of(missing, candidates, lives, sessions, self._load.today)
        reached = span.last
        if batches:
            self._load.progress.start(
                self._estimate(batches, sessions), sum(len(batch.symbols) for batch in batches), "symbols"
            )
        for batch in batches:
            read = self._read(client, batch)
            end = self._reached(read, batch)
            reached = min(reached, end)
            self._store(batch, read, Span(batch.covers.first, end))
            self._load.progress.advance(len(batch.symbols), f"{self._load.changes.added:,} bars")
        return Span(span.first, reached)

    def _with_gaps(self, sessions: list[dt.date]) -> set[str]:
        """Symbols to be read anew from end to end, where that is asked for: what they lack may have been put right."""
        if not self._load.force:
            return set()
        with self._load.warehouse.connect() as connection:
            held = store_totals(connection)
            first, last = held.first_session or dt.date.max, held.last_session or dt.date.min
            # A session that nobody has a bar of lacks in every life over it.
            if any(first < day < last for day in empty_sessions(connection, sessions)):
                return set(self._load.state.coverage)
            return set(symbols_with_gaps(connection, sessions))

    def drop_twins(self) -> None:
        """Load a company once where no name change joins its two symbols: their bars are equal to the last digit."""
        if not (self._is_first_load or self._load.force):
            return
        at = self._load.now()
        with self._load.warehouse.transaction() as connection:
            if self._load.force:
                forget_twins(connection, VENDOR)
            changes, counted = drop_twins(connection, VENDOR, at)
        self._load.changes += changes
        self._load.counted.update(counted)

    def give_up_names(
        self, connection: duckdb.DuckDBPyConnection, symbols: Sequence[str], lives: Lives, at: dt.datetime
    ) -> None:
        """Take back bars stored under a name that turned out to be another candidate's former one, who will bring them."""
        candidates = set(symbols)
        for symbol in sorted(candidates & self._load.state.coverage.keys()):
            day = lives.names.given_up(symbol, candidates)
            if day is None:
                continue
            taken = take_back(connection, symbol, day, at)
            self._load.changes += taken
            heir = lives.names.bearer(symbol, day - DAY, candidates)
            if taken.removed and heir in self._load.state.coverage:
                connection.execute(
                    "DELETE FROM bar_checkpoints WHERE vendor = ? AND kind = 'symbol' AND key = ?", [VENDOR, heir]
                )
                del self._load.state.coverage[heir]

    def _estimate(self, batches: Sequence[SymbolBatch], sessions: Sequence[dt.date]) -> str:
        calls, rate = calls_of(batches, sessions), self._load.alpaca.calls_per_minute
        symbols = len({symbol for batch in batches for symbol in batch.symbols})
        needs = f"about {spoken(calls * 60.0 / rate)} at {rate:g} calls a minute" if rate else "no rate limit"
        return f"bars of {symbols:,} symbols in about {calls:,} calls, {needs}"

    def _reached(self, read: ReadBatch, batch: SymbolBatch) -> dt.date:
        """The last session that the answer covers: one that just closed may still be missing at the vendor."""
        last = batch.covers.last
        fresh = self._load.now() - calendar.close_time(last) < SURELY_PUBLISHED_AFTER
        if not fresh or batch.ask.span.last < last or last in read.last.values():
            return last
        return max(batch.covers.first, calendar.previous_session(last))

    def _read(self, client: AlpacaDataClient, batch: SymbolBatch) -> ReadBatch:
        """The bars of a batch; what lacks at its end is asked for until nothing comes twice: one cut short looks whole."""
        if batch.ask.span.first > batch.ask.span.last:
            return join_pages([_no_page()])
        end = calendar.previous_session(batch.ask.span.last + DAY)
        pages = self._pages(client, batch.symbols, batch.ask)
        read = join_pages(pages)
        quiet = 0
        for _ in range(MOST_PASSES):
            rows = len(read.bars)
            symbols = [symbol for symbol in batch.symbols if symbol not in self._load.left_out]
            absent = [symbol for symbol in symbols if symbol not in read.last]
            short = [symbol for symbol in symbols if symbol in read.last and read.last[symbol] < end]
            if not absent and not short:
                return read
            pages += self._pages(client, absent, batch.ask)
            if short:
                since = min(read.last[symbol] for symbol in short) + DAY
                pages += self._pages(client, short, Ask(Span(since, batch.ask.span.last), batch.ask.asof))
            read = join_pages(pages)
            quiet = 0 if len(read.bars) > rows else quiet + 1
            if quiet == QUIET_PASSES:
                return read
        raise AlpacaIncomplete(f"Alpaca goes on to send more of the same bars after {MOST_PASSES} answers", RESUMES)

    def _pages(self, client: AlpacaDataClient, symbols: Sequence[str], ask: Ask) -> list[Page]:
        """All pages of some symbols; one that the vendor takes for no symbol is left out, named, and the others asked again."""
        rest = list(symbols)
        while rest:
            call = BarsCall(tuple(rest), _midnight(ask.span.first), self._end_of(ask.span.last), ask.asof)
            try:
                return list(follow(partial(self._page, client, call, ask.span), "the bars"))
            except AlpacaInvalidSymbol as error:
                self._load.leave_out(error, rest)
        return [_no_page()]

    def _page(self, client: AlpacaDataClient, call: BarsCall, span: Span, token: str | None) -> tuple[Page, str | None]:
        """One page. Rows that are refused are asked for again, and refused only where they come back the same."""
        before: tuple[RefusedRow, ...] | None = None
        for _ in range(TRIES):
            rows, following = client.bars_page(call, token)
            page = read_page(rows, *span, self._stamps)
            if not page.refused or page.refused == before:
                self._load.progress.advance(0, f"{call.symbols[0]} … {call.symbols[-1]}")
                return page, following
            before = page.refused
        raise AlpacaMalformed(f"Alpaca sends other bad rows each time ({before[0].reason if before else ''})", RESUMES)

    def _end_of(self, last: dt.date) -> dt.datetime:
        """The end of a day in New York, and never nearer than the free plan gives."""
        return min(_midnight(last + DAY) - dt.timedelta(seconds=1), self._load.now() - YOUNGEST)

    def _store(self, batch: SymbolBatch, read: ReadBatch, covers: Span) -> None:
        """Rows and checkpoints in one transaction; what is remembered in memory changes only after it."""
        at = self._load.now()
        frame = frame_of([read.bars])
        rows = Counter(frame["symbol"].tolist())
        coverage = {
            symbol: merged(self._load.state.coverage.get(symbol), covers)
            for symbol in batch.symbols
            if symbol not in self._load.left_out
        }
        with self._load.warehouse.transaction() as connection:
            frame = keep_storable(connection, keep_known_optional(connection, frame), VENDOR, at)
            save_bad_rows(connection, read.bars.refused, at, VENDOR)
            changes = upsert_bars(connection, frame, VENDOR, at) if len(frame) else Changes()
            save_coverage(connection, coverage, rows, at, VENDOR)
        self._load.state.coverage.update(coverage)
        self._load.changes += changes
        self._load.counted["rows without a trade dropped"] += read.placeholders
        self._load.counted["bars widened to their open or close"] += read.widened
        self._load.counted["bad rows set aside"] += len(read.bars.refused)


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), NEW_YORK)


def _no_page() -> Page:
    return read_page({}, FIRST_DAY, FIRST_DAY, Sessions())
