"""One sync of the vendor `alpaca`, step by step: candidates, corporate actions, bars by batches, dividends, done.

Every step commits with its checkpoint; a step whose checkpoint stands is not repeated. Trusts its caller to run one at
a time.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from kobe_resources import calendar
from kobe_resources.errors import UsageError
from kobe_resources.market_data.alpaca.actions import MARKET_KINDS, Action, Actions, Names
from kobe_resources.market_data.alpaca.bars import NEW_YORK, Page, Sessions, join_pages, read_page
from kobe_resources.market_data.alpaca.bars import ReadBars as ReadBatch
from kobe_resources.market_data.alpaca.candidates import candidates_of_assets, with_assets
from kobe_resources.market_data.alpaca.client import AlpacaDataClient, BarsCall, follow
from kobe_resources.market_data.alpaca.errors import RESUMES, AlpacaIncomplete, AlpacaInvalidSymbol, AlpacaMalformed
from kobe_resources.market_data.alpaca.plan import (
    SYMBOLS_A_BATCH,
    Ask,
    Lives,
    SymbolBatch,
    batches_of,
    calls_of,
    lives_of,
    missing_spans,
)
from kobe_resources.market_data.polygon.candidates import candidates_of_file
from kobe_resources.market_data.polygon.checkpoints import (
    LoadState,
    Mark,
    forget,
    keep_known_optional,
    read_state,
    save_bad_rows,
    save_coverage,
    save_mark,
    save_refusals,
)
from kobe_resources.market_data.polygon.loader import spoken
from kobe_resources.market_data.polygon.plan import DAY, Span, merged
from kobe_resources.market_data.polygon.rows import RefusedRow, frame_of, printable
from kobe_resources.market_data.set_aside import keep_storable
from kobe_resources.market_data.store import (
    DIVIDEND,
    Changes,
    StoreTotals,
    begin_source,
    drop_stored_duplicates,
    record_load,
    record_options,
    refuse_other_source,
    replace_actions,
    replace_candidates,
    replace_dividends,
    replace_splits,
    sql,
    store_totals,
    take_back,
    upsert_bars,
)
from kobe_resources.settings.pins import canonical_json

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

    from kobe_resources.market_data.protocol import Progress
    from kobe_resources.settings.models import Settings
    from kobe_resources.warehouse.store import Warehouse

VENDOR = "alpaca"
FIRST_DAY = dt.date(2016, 1, 4)
"""The vendor has nothing before it."""
YOUNGEST = dt.timedelta(minutes=16)
"""The free plan gives no price of the last 15 minutes; clocks differ by seconds."""
SURELY_PUBLISHED_AFTER = dt.timedelta(hours=24)
LIST_LASTS = dt.timedelta(days=30)
ACTIONS_BACK = dt.timedelta(days=100)
"""So old ex-dates are read once more: rows come weeks late (GE's split of December 2020 in January)."""
AHEAD = dt.timedelta(days=30)
SPLITS_LAG, DIVIDENDS_LAG = dt.timedelta(days=60), dt.timedelta(days=90)
"""The vendor selects by the day on which an action was processed, so far from its ex-date."""
INVALID = "Alpaca takes it for no symbol"
TRIES = 3
TWIN_BARS = 20
"""So many bars that are equal to the last digit are no chance. A name that was given up has been seen to answer with 27."""


class CandidateAssets(NamedTuple):
    """frame: the new list, None where the stored one stands. active: who is listed today, None where not asked for."""

    symbols: list[str]
    key: str
    frame: pd.DataFrame | None
    active: frozenset[str] | None


class AlpacaSync:
    """Brings `warehouse` up to the vendor once. skipped, changes, notes, totals: what it came to."""

    def __init__(
        self, settings: Settings, warehouse: Warehouse, progress: Progress, now: Callable[[], dt.datetime], force: bool
    ) -> None:
        self.skipped = False
        self.changes = Changes()
        self.totals = StoreTotals(0, 0, 0, None, None)
        self.counted: Counter[str] = Counter()
        self.left_out: dict[str, None] = {}
        self._settings = settings
        self._alpaca = settings.data.alpaca
        self._warehouse = warehouse
        self._progress = progress
        self._now = now
        self._force = force
        self._today = now().astimezone(NEW_YORK).date()
        self._state = LoadState()
        self._stamps = Sessions()
        self._invalid: set[str] = set()
        self._is_first_load = False

    def run(self, open_client: Callable[[], AlpacaDataClient], fingerprint: str) -> int:
        """See AlpacaVendor.sync; returns the number of calls."""
        span = self._wanted_span()
        if not self._force:
            refuse_other_source(self._warehouse, VENDOR)
        load_key = fingerprint + ("+options" if self._settings.universe.require_options else "")
        with self._warehouse.connect() as connection:
            self._state = read_state(connection, VENDOR)
            self.skipped = self._stands(span, load_key)
            self.totals = store_totals(connection)
            self._invalid = _known_invalid(connection)
        if self.skipped:
            return 0
        client = open_client()
        try:
            candidates = self._candidates(client)
            lives = self._begin(client, candidates, span)
            span = self._bars(client, candidates.symbols, lives, span)
            self._drop_twins()
            self._dividends(client, candidates.symbols, lives.names, span)
            self._finish(span, fingerprint, load_key)
        finally:
            client.close()
        return client.calls

    @property
    def notes(self) -> tuple[str, ...]:
        """What the person should know, a line each."""
        told = [f"{count:,} {what}" for what, count in sorted(self.counted.items()) if count]
        if self.left_out:
            names = ", ".join(list(self.left_out)[:10]) + (", …" if len(self.left_out) > 10 else "")
            told.append(f"left out, since Alpaca takes them for no symbols: {names}")
        return tuple(told)

    def _wanted_span(self) -> Span:
        """From data.start (none: where the vendor begins) to data.end or the last session that is over."""
        data = self._settings.data
        over = calendar.latest_complete_session(self._now(), calendar.BARS_PUBLISHED_AFTER)
        last = min(data.end, over) if data.end else over
        first = max(data.start or FIRST_DAY, FIRST_DAY)
        sessions = calendar.sessions(first, last).tolist() if first <= last else []
        if not sessions:
            raise UsageError(
                f"no session lies between {first} and {last}", "widen data.start and data.end; Alpaca begins in 2016"
            )
        return Span(sessions[0], sessions[-1])

    def _stands(self, span: Span, load_key: str) -> bool:
        done = self._state.marks.get("load")
        stands = done and done.key == load_key and done.span.first <= span.first and span.last <= done.span.last
        return bool(stands) and not self._force

    def _candidates(self, client: AlpacaDataClient) -> CandidateAssets:
        """From the file, or from the vendor's assets where the stored list is too old."""
        options = self._settings.universe.require_options
        listed = self._state.marks.get("candidates")
        if self._alpaca.candidates:
            frame = candidates_of_file(self._alpaca.candidates, "data.alpaca.candidates")
            key = _hash([*frame.astype(str).to_numpy().tolist(), options])
            if self._is_fresh(listed, key):
                return CandidateAssets(frame["symbol"].tolist(), key, None, self._stored_active())
            if not options or frame["has_options"].notna().all():
                return CandidateAssets(frame["symbol"].tolist(), key, frame, None)
            assets = client.assets()
            active = frozenset(str(asset.get("symbol")) for asset in assets)
            return CandidateAssets(frame["symbol"].tolist(), key, with_assets(frame, assets), active)
        key = "common stocks by name"
        if self._is_fresh(listed, key):
            return CandidateAssets(self._state.candidates, key, None, frozenset(self._state.candidates))
        assets = client.assets()
        frame = candidates_of_assets(assets)
        return CandidateAssets(frame["symbol"].tolist(), key, frame, frozenset(frame["symbol"]))

    def _is_fresh(self, listed: Mark | None, key: str) -> bool:
        return listed is not None and listed.key == key and self._now() - listed.done_at < LIST_LASTS

    def _stored_active(self) -> frozenset[str] | None:
        rows = self._warehouse.rows("SELECT symbol, active FROM candidates")
        # Where all are active nobody was asked: a file without the column says so of everyone.
        return frozenset(symbol for symbol, active in rows if active) if any(not active for _, active in rows) else None

    def _begin(self, client: AlpacaDataClient, candidates: CandidateAssets, span: Span) -> Lives:
        """The candidates and the market's corporate actions, in one transaction: from here on the store is this vendor's."""
        key = _hash(candidates.symbols)
        window = self._actions_window("actions", key, span)
        actions = self._market_actions(client, window) if window else None
        at = self._now()
        with self._warehouse.transaction() as connection:
            if begin_source(connection, VENDOR, at):
                forget(connection, VENDOR)
            if self._force:
                drop_stored_duplicates(connection)
            if candidates.frame is not None:
                self._store_candidates(connection, candidates, at)
            if actions is not None and window is not None:
                self._store_actions(connection, actions, candidates.symbols, window, key, at)
            lives = lives_of(_stored_actions(connection), candidates.active)
            self._give_up_names(connection, candidates.symbols, lives, at)
        return lives

    def _store_candidates(self, connection: duckdb.DuckDBPyConnection, candidates: CandidateAssets, at: dt.datetime) -> None:
        if candidates.frame is None:
            return
        replace_candidates(connection, candidates.frame.drop(columns="has_options"), VENDOR)
        known = candidates.frame.dropna(subset="has_options")
        record_options(connection, known.astype({"has_options": bool}), VENDOR, at)
        mark = Mark(candidates.key, Span(self._today, self._today), len(candidates.symbols), at)
        save_mark(connection, "candidates", mark, VENDOR)

    def _actions_window(self, kind: str, key: str, span: Span) -> Span | None:
        """The ex-dates to read: all of the span where candidates are new, else those around today; None where that was done."""
        known = self._state.marks.get(kind)
        until = self._today + AHEAD
        if known is None or known.key != key or known.span.first > span.first:
            return Span(span.first, until)
        if known.span.last == until and not self._force:
            return None
        read = known.done_at.astimezone(NEW_YORK).date()
        return Span(max(span.first, min(read, self._today) - ACTIONS_BACK), until)

    def _market_actions(self, client: AlpacaDataClient, window: Span) -> Actions:
        found = Actions()
        self._progress.start("corporate actions of the market", 1, "lists")
        for page in client.actions(MARKET_KINDS, window.first - SPLITS_LAG, window.last + SPLITS_LAG):
            found.add(page)
        self._progress.advance()
        return found

    def _store_actions(
        self,
        connection: duckdb.DuckDBPyConnection,
        actions: Actions,
        symbols: Sequence[str],
        window: Span,
        key: str,
        at: dt.datetime,
    ) -> None:
        """Splits under the name that the company bears among the candidates; of the rest, what concerns candidates."""
        import pandas as pd

        wanted = {*symbols, *self._state.coverage}
        names = Names([*_stored_actions(connection), *actions.others])
        splits = {
            split._replace(symbol=bearer)
            for split in actions.splits
            if (bearer := names.bearer(split.symbol, split.execution_date, wanted))
        }
        frame = pd.DataFrame(sorted(splits), columns=["symbol", "execution_date", "split_from", "split_to"])
        replace_splits(connection, frame, VENDOR, at, window.first, window.last)
        former = names.former(wanted)
        kept = [
            action
            for action in actions.others
            if action.symbol in wanted
            or action.symbol in former
            or (action.kind == "name_change" and action.other_symbol in wanted)
        ]
        replace_actions(
            connection,
            pd.DataFrame(kept, columns=["symbol", "ex_date", "kind", "other_symbol", "rate"], dtype=object),
            VENDOR,
            window.first,
            window.last,
        )
        self._tell_actions(connection, actions, at)
        self._save_window(connection, "actions", key, window, len(splits), at)

    def _tell_actions(self, connection: duckdb.DuckDBPyConnection, actions: Actions, at: dt.datetime) -> None:
        counted = {f"corporate actions of the unknown kind {kind}": count for kind, count in actions.unknown.items()}
        counted |= {f"dividends in {currency}": count for currency, count in actions.foreign.items()}
        for what, count in counted.items():
            # One line a kind: the count of an earlier reading is replaced.
            connection.execute(
                "DELETE FROM bar_refusals WHERE vendor = ? AND symbol = '' AND reason LIKE ?", [VENDOR, f"{what}: %"]
            )
            self.counted[f"{what} left out"] += count
        told = [*actions.refused, *(RefusedRow("", None, f"{what}: {count}") for what, count in counted.items())]
        save_refusals(connection, told, at, VENDOR)

    def _save_window(
        self, connection: duckdb.DuckDBPyConnection, kind: str, key: str, window: Span, rows: int, at: dt.datetime
    ) -> None:
        known = self._state.marks.get(kind)
        first = min(window.first, known.span.first) if known and known.key == key else window.first
        save_mark(connection, kind, Mark(key, Span(first, window.last), rows, at), VENDOR)

    def _give_up_names(
        self, connection: duckdb.DuckDBPyConnection, symbols: Sequence[str], lives: Lives, at: dt.datetime
    ) -> None:
        """Take back bars stored under a name that turned out to be another candidate's former one, who will bring them."""
        candidates = set(symbols)
        for symbol in sorted(candidates & self._state.coverage.keys()):
            day = lives.names.given_up(symbol, candidates)
            if day is None:
                continue
            taken = take_back(connection, symbol, day, at)
            self.changes += taken
            heir = lives.names.bearer(symbol, day - DAY, candidates)
            if taken.removed and heir in self._state.coverage:
                connection.execute(
                    "DELETE FROM bar_checkpoints WHERE vendor = ? AND kind = 'symbol' AND key = ?", [VENDOR, heir]
                )
                del self._state.coverage[heir]

    def _bars(self, client: AlpacaDataClient, symbols: Sequence[str], lives: Lives, span: Span) -> Span:
        """Load what is missing, batch by batch; the span that all of them reached."""
        sessions: list[dt.date] = calendar.sessions(*span).tolist()
        candidates = set(symbols)
        self.left_out |= dict.fromkeys(symbol for symbol in symbols if symbol in self._invalid and not self._force)
        asked = [symbol for symbol in symbols if symbol not in self.left_out]
        self._is_first_load = not self._state.coverage.keys() >= set(asked)
        missing = missing_spans(self._state.coverage, asked, span, sessions, reread=self._force)
        batches = batches_of(missing, candidates, lives, sessions, self._today)
        reached = span.last
        if batches:
            self._progress.start(self._estimate(batches, sessions), sum(len(batch.symbols) for batch in batches), "symbols")
        for batch in batches:
            read = self._read(client, batch)
            end = self._reached(read, batch)
            reached = min(reached, end)
            self._store(batch, read, Span(batch.covers.first, end))
            self._progress.advance(len(batch.symbols), f"{self.changes.added:,} bars")
        return Span(span.first, reached)

    def _drop_twins(self) -> None:
        """Load a company once where no name change joins its two symbols: their bars are equal to the last digit."""
        if not self._is_first_load:
            return
        at = self._now()
        with self._warehouse.transaction() as connection:
            for loser, heir, last, shared in connection.execute(sql("alpaca_twins"), {"least": TWIN_BARS}).fetchall():
                self.changes += take_back(connection, loser, last + DAY, at)
                save_refusals(connection, [RefusedRow(loser, last, f"the same bars as {heir}, which keeps them")], at, VENDOR)
                self.counted[f"bars of {loser} left out, since {heir} has the very same"] += shared

    def _estimate(self, batches: Sequence[SymbolBatch], sessions: Sequence[dt.date]) -> str:
        calls, rate = calls_of(batches, sessions), self._alpaca.calls_per_minute
        symbols = len({symbol for batch in batches for symbol in batch.symbols})
        needs = f"about {spoken(calls * 60.0 / rate)} at {rate:g} calls a minute" if rate else "no rate limit"
        return f"bars of {symbols:,} symbols in about {calls:,} calls, {needs}"

    def _reached(self, read: ReadBatch, batch: SymbolBatch) -> dt.date:
        """The last session that the answer covers: one that just closed may still be missing at the vendor."""
        last = batch.covers.last
        fresh = self._now() - calendar.close_time(last) < SURELY_PUBLISHED_AFTER
        if not fresh or batch.ask.span.last < last or last in read.last.values():
            return last
        return max(batch.covers.first, calendar.previous_session(last))

    def _read(self, client: AlpacaDataClient, batch: SymbolBatch) -> ReadBatch:
        """The bars of a batch; what lacks at its end is asked for until nothing comes, for an answer cut short looks whole."""
        if batch.ask.span.first > batch.ask.span.last:
            return join_pages([_no_page()])
        end = calendar.previous_session(batch.ask.span.last + DAY)
        pages = self._pages(client, batch.symbols, batch.ask)
        for _ in range(TRIES):
            read = join_pages(pages)
            rows = len(read.bars)
            symbols = [symbol for symbol in batch.symbols if symbol not in self.left_out]
            absent = [symbol for symbol in symbols if symbol not in read.last]
            short = [symbol for symbol in symbols if symbol in read.last and read.last[symbol] < end]
            pages += self._pages(client, absent, batch.ask)
            if short:
                since = min(read.last[symbol] for symbol in short) + DAY
                pages += self._pages(client, short, Ask(Span(since, batch.ask.span.last), batch.ask.asof))
            read = join_pages(pages)
            if len(read.bars) == rows:
                break
        return read

    def _pages(self, client: AlpacaDataClient, symbols: Sequence[str], ask: Ask) -> list[Page]:
        """All pages of some symbols; one that the vendor takes for no symbol is left out, named, and the others asked again."""
        rest = list(symbols)
        while rest:
            call = BarsCall(tuple(rest), _midnight(ask.span.first), self._end_of(ask.span.last), ask.asof)
            try:
                return list(follow(partial(self._page, client, call, ask.span), "the bars"))
            except AlpacaInvalidSymbol as error:
                self._leave_out(error, rest)
        return [_no_page()]

    def _page(self, client: AlpacaDataClient, call: BarsCall, span: Span, token: str | None) -> tuple[Page, str | None]:
        """One page. Rows that are refused are asked for again, and refused only where they come back the same."""
        before: tuple[RefusedRow, ...] | None = None
        for _ in range(TRIES):
            rows, following = client.bars_page(call, token)
            page = read_page(rows, *span, self._stamps)
            if not page.refused or page.refused == before:
                self._progress.advance(0, f"{call.symbols[0]} … {call.symbols[-1]}")
                return page, following
            before = page.refused
        raise AlpacaMalformed(f"Alpaca sends other bad rows each time ({before[0].reason if before else ''})", RESUMES)

    def _end_of(self, last: dt.date) -> dt.datetime:
        """The end of a day in New York, and never nearer than the free plan gives."""
        return min(_midnight(last + DAY) - dt.timedelta(seconds=1), self._now() - YOUNGEST)

    def _leave_out(self, error: AlpacaInvalidSymbol, rest: list[str]) -> None:
        """Take the symbol that the vendor names out of a call, and keep its name; raises where it names another."""
        named = next((symbol for symbol in rest if symbol.upper() == error.symbol.upper()), None)
        if named is None:
            raise error
        rest.remove(named)
        self.left_out[named] = None
        with self._warehouse.transaction() as connection:
            save_refusals(connection, [RefusedRow(printable(named), None, INVALID)], self._now(), VENDOR)

    def _store(self, batch: SymbolBatch, read: ReadBatch, covers: Span) -> None:
        """Rows and checkpoints in one transaction; what is remembered in memory changes only after it."""
        at = self._now()
        frame = frame_of([read.bars])
        rows = Counter(frame["symbol"].tolist())
        coverage = {
            symbol: merged(self._state.coverage.get(symbol), covers) for symbol in batch.symbols if symbol not in self.left_out
        }
        with self._warehouse.transaction() as connection:
            frame = keep_storable(connection, keep_known_optional(connection, frame), VENDOR, at)
            save_bad_rows(connection, read.bars.refused, at, VENDOR)
            changes = upsert_bars(connection, frame, VENDOR, at) if len(frame) else Changes()
            save_coverage(connection, coverage, rows, at, VENDOR)
        self._state.coverage.update(coverage)
        self.changes += changes
        self.counted["rows without a trade dropped"] += read.placeholders
        self.counted["bars widened to their open or close"] += read.widened
        self.counted["bad rows set aside"] += len(read.bars.refused)

    def _dividends(self, client: AlpacaDataClient, symbols: Sequence[str], names: Names, span: Span) -> None:
        """Cash dividends of the candidates and of their former names, in one transaction."""
        import pandas as pd

        key = _hash(["dividends", *symbols])
        window = self._actions_window("dividends", key, span)
        if window is None:
            return
        wanted = {*symbols, *self._state.coverage}
        asked = sorted((wanted | names.former(wanted)) - self.left_out.keys())
        found = Actions()
        self._progress.start(f"dividends of {len(asked):,} symbols", len(asked), "symbols")
        for place in range(0, len(asked), SYMBOLS_A_BATCH):
            some = asked[place : place + SYMBOLS_A_BATCH]
            for page in self._dividend_pages(client, some, window):
                found.add(page)
            self._progress.advance(len(some))
        rows = {
            dividend._replace(symbol=bearer)
            for dividend in found.dividends
            if (bearer := names.bearer(dividend.symbol, dividend.ex_date, wanted))
        }
        frame = pd.DataFrame(list(rows), columns=DIVIDEND, dtype=object)
        at = self._now()
        with self._warehouse.transaction() as connection:
            replace_dividends(connection, frame, VENDOR, at, window.first, window.last)
            self._tell_actions(connection, found, at)
            self._save_window(connection, "dividends", key, window, len(rows), at)

    def _dividend_pages(
        self, client: AlpacaDataClient, symbols: Sequence[str], window: Span
    ) -> Iterator[dict[str, list[object]]]:
        rest = list(symbols)
        while rest:
            try:
                yield from client.actions(("cash_dividend",), window.first - SPLITS_LAG, window.last + DIVIDENDS_LAG, rest)
                return
            except AlpacaInvalidSymbol as error:
                self._leave_out(error, rest)

    def _finish(self, span: Span, fingerprint: str, load_key: str) -> None:
        """Say that the span is complete."""
        if not self._warehouse.rows("SELECT 1 FROM daily_bars SEMI JOIN candidates USING (symbol) LIMIT 1"):
            with self._warehouse.transaction() as connection:
                connection.execute("DELETE FROM bar_checkpoints WHERE vendor = ? AND kind = 'symbol'", [VENDOR])
            raise AlpacaIncomplete(
                f"Alpaca sent no bar of any candidate from {span.first} to {span.last}",
                f"{RESUMES}; if it stays so, check data.alpaca.candidates and data.start",
            )
        at = self._now()
        with self._warehouse.transaction() as connection:
            record_load(connection, VENDOR, fingerprint, self.changes, at)
            save_mark(connection, "load", Mark(load_key, span, self.changes.added, at), VENDOR)
            self.totals = store_totals(connection)


def _known_invalid(connection: duckdb.DuckDBPyConnection) -> set[str]:
    rows = connection.execute("SELECT symbol FROM bar_refusals WHERE vendor = ? AND reason = ?", [VENDOR, INVALID]).fetchall()
    return {row[0] for row in rows}


def _stored_actions(connection: duckdb.DuckDBPyConnection) -> list[Action]:
    rows = connection.execute("SELECT symbol, ex_date, kind, other_symbol, rate FROM corporate_actions ORDER BY ALL").fetchall()
    return [Action(*row) for row in rows]


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), NEW_YORK)


def _no_page() -> Page:
    return read_page({}, FIRST_DAY, FIRST_DAY, Sessions())


def _hash(told: Sequence[object]) -> str:
    return hashlib.sha256(canonical_json(told).encode()).hexdigest()[:16]
