"""One sync of the vendor `alpaca`, step by step: candidates, corporate actions, bars by batches, dividends, done.

Every step commits with its checkpoint; a step whose checkpoint stands is not repeated. Trusts its caller to run one at
a time.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from kobe_resources import calendar
from kobe_resources.errors import UsageError
from kobe_resources.market_data.alpaca.action_loader import ActionLoader
from kobe_resources.market_data.alpaca.bar_loader import BarLoader
from kobe_resources.market_data.alpaca.candidates import candidates_of_assets, with_assets
from kobe_resources.market_data.alpaca.client import AlpacaDataClient
from kobe_resources.market_data.alpaca.errors import AlpacaIncomplete
from kobe_resources.market_data.alpaca.load import FIRST_DAY, INVALID, VENDOR, AlpacaLoad, stored_actions
from kobe_resources.market_data.alpaca.plan import (
    Lives,
    lives_of,
)
from kobe_resources.market_data.changes import Changes, StoreTotals
from kobe_resources.market_data.companions import record_options, replace_candidates
from kobe_resources.market_data.over_network import LIST_LASTS, RESUMES, candidates_without_bars, hash_of
from kobe_resources.market_data.polygon.candidates import candidates_of_file
from kobe_resources.market_data.polygon.checkpoints import (
    Mark,
    forget,
    read_state,
    save_mark,
)
from kobe_resources.market_data.polygon.plan import Span
from kobe_resources.market_data.set_aside import why_no_bars
from kobe_resources.market_data.store import (
    begin_source,
    drop_stored_duplicates,
    record_load,
    refuse_other_source,
    store_totals,
)
from kobe_resources.market_data.twins import known_twins

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

    from kobe_resources.market_data.protocol import Progress
    from kobe_resources.settings.models import Settings
    from kobe_resources.warehouse.store import Warehouse


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
        self.totals = StoreTotals(0, 0, 0, None, None)
        self._load = AlpacaLoad(settings, warehouse, progress, now, force)
        self._actions, self._bars = ActionLoader(self._load), BarLoader(self._load)

    @property
    def changes(self) -> Changes:
        """What became of the stored bars."""
        return self._load.changes

    @property
    def notes(self) -> tuple[str, ...]:
        """What the person should know, a line each."""
        return self._load.notes

    def run(self, open_client: Callable[[], AlpacaDataClient], fingerprint: str) -> int:
        """See AlpacaVendor.sync; returns the number of calls."""
        span = self._wanted_span()
        if not self._load.force:
            refuse_other_source(self._load.warehouse, VENDOR)
        load_key = fingerprint + ("+options" if self._load.settings.universe.require_options else "")
        with self._load.warehouse.connect() as connection:
            self._load.state = read_state(connection, VENDOR)
            self.skipped = self._stands(span, load_key)
            self.totals = store_totals(connection)
            self._load.invalid = _known_invalid(connection)
            self._load.twins = known_twins(connection, VENDOR)
        if self.skipped:
            return 0
        client = open_client()
        try:
            candidates = self._candidates(client)
            lives = self._begin(client, candidates, span)
            span = self._bars.load_bars(client, candidates.symbols, lives, span)
            self._bars.drop_twins()
            self._actions.dividends(client, candidates.symbols, lives.names, span)
            self._finish(span, fingerprint, load_key)
        finally:
            client.close()
        return client.calls

    def _wanted_span(self) -> Span:
        """From data.start (none: where the vendor begins) to data.end or the last session that is over."""
        data = self._load.settings.data
        over = calendar.latest_complete_session(self._load.now(), calendar.BARS_PUBLISHED_AFTER)
        last = min(data.end, over) if data.end else over
        first = max(data.start or FIRST_DAY, FIRST_DAY)
        sessions = calendar.sessions(first, last).tolist() if first <= last else []
        if not sessions:
            raise UsageError(
                f"no session lies between {first} and {last}", "widen data.start and data.end; Alpaca begins in 2016"
            )
        return Span(sessions[0], sessions[-1])

    def _stands(self, span: Span, load_key: str) -> bool:
        done = self._load.state.marks.get("load")
        stands = done and done.key == load_key and done.span.first <= span.first and span.last <= done.span.last
        return bool(stands) and not self._load.force

    def _candidates(self, client: AlpacaDataClient) -> CandidateAssets:
        """From the file, or from the vendor's assets where the stored list is too old."""
        options = self._load.settings.universe.require_options
        listed = self._load.state.marks.get("candidates")
        if self._load.alpaca.candidates:
            frame = candidates_of_file(self._load.alpaca.candidates, "data.alpaca.candidates")
            key = hash_of([*frame.astype(str).to_numpy().tolist(), options])
            if self._is_fresh(listed, key):
                return CandidateAssets(frame["symbol"].tolist(), key, None, self._stored_active())
            if not options or frame["has_options"].notna().all():
                return CandidateAssets(frame["symbol"].tolist(), key, frame, None)
            assets = client.assets()
            active = frozenset(str(asset.get("symbol")) for asset in assets)
            return CandidateAssets(frame["symbol"].tolist(), key, with_assets(frame, assets), active)
        key = "common stocks by name"
        if self._is_fresh(listed, key):
            return CandidateAssets(self._load.state.candidates, key, None, frozenset(self._load.state.candidates))
        assets = client.assets()
        frame = candidates_of_assets(assets)
        return CandidateAssets(frame["symbol"].tolist(), key, frame, frozenset(frame["symbol"]))

    def _is_fresh(self, listed: Mark | None, key: str) -> bool:
        return listed is not None and listed.key == key and self._load.now() - listed.done_at < LIST_LASTS

    def _stored_active(self) -> frozenset[str] | None:
        rows = self._load.warehouse.rows("SELECT symbol, active FROM candidates")
        # Where all are active nobody was asked: a file without the column says so of everyone.
        return frozenset(symbol for symbol, active in rows if active) if any(not active for _, active in rows) else None

    def _begin(self, client: AlpacaDataClient, candidates: CandidateAssets, span: Span) -> Lives:
        """The candidates and the market's corporate actions, in one transaction: from here on the store is this vendor's."""
        key = hash_of(candidates.symbols)
        window = self._actions.window("actions", key, span)
        actions = self._actions.of_market(client, window) if window else None
        at = self._load.now()
        with self._load.warehouse.transaction() as connection:
            if begin_source(connection, VENDOR, at):
                forget(connection, VENDOR)
            if self._load.force:
                drop_stored_duplicates(connection)
            if candidates.frame is not None:
                self._store_candidates(connection, candidates, at)
            if actions is not None and window is not None:
                self._actions.store(connection, actions, candidates.symbols, window, key, at)
            lives = lives_of(stored_actions(connection), candidates.active)
            self._bars.give_up_names(connection, candidates.symbols, lives, at)
        return lives

    def _store_candidates(self, connection: duckdb.DuckDBPyConnection, candidates: CandidateAssets, at: dt.datetime) -> None:
        if candidates.frame is None:
            return
        replace_candidates(connection, candidates.frame.drop(columns="has_options"), VENDOR)
        known = candidates.frame.dropna(subset="has_options")
        record_options(connection, known.astype({"has_options": bool}), VENDOR, at)
        mark = Mark(candidates.key, Span(self._load.today, self._load.today), len(candidates.symbols), at)
        save_mark(connection, "candidates", mark, VENDOR)

    def _finish(self, span: Span, fingerprint: str, load_key: str) -> None:
        """Say that the span is complete."""
        if not self._load.warehouse.rows("SELECT 1 FROM daily_bars SEMI JOIN candidates USING (symbol) LIMIT 1"):
            with self._load.warehouse.transaction() as connection:
                connection.execute("DELETE FROM bar_checkpoints WHERE vendor = ? AND kind = 'symbol'", [VENDOR])
                why = why_no_bars(connection, VENDOR)
            raise AlpacaIncomplete(
                f"Alpaca sent no {'sound ' if why else ''}bar of any candidate from {span.first} to {span.last}{why}",
                f"{RESUMES}; if it stays so, check data.alpaca.candidates and data.start",
            )
        at = self._load.now()
        with self._load.warehouse.transaction() as connection:
            record_load(connection, VENDOR, fingerprint, self._load.changes, at)
            save_mark(connection, "load", Mark(load_key, span, self._load.changes.added, at), VENDOR)
            self.totals = store_totals(connection)
            self._load.without_bars = candidates_without_bars(connection) if self._load.alpaca.candidates else ()


def _known_invalid(connection: duckdb.DuckDBPyConnection) -> set[str]:
    rows = connection.execute("SELECT symbol FROM bar_refusals WHERE vendor = ? AND reason = ?", [VENDOR, INVALID]).fetchall()
    return {row[0] for row in rows}
