"""Replay: past sessions, day by day, through the live path against the embedded broker over HTTP, held against the simulation.

What trades is the code that trades live; only broker, ledger and clock are the replay's own, in a folder that is thrown away.
"""

from __future__ import annotations

import datetime as dt
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kobe_assets.graph.frames import book_trades
from kobe_assets.graph.inputs import canonical_params, load_market
from kobe_assets.research import walk_forward
from kobe_assets.research.simulation import LATE_BARS
from kobe_assets.research.walk_forward import Market, Part
from kobe_jobs.research_run.strategies import parts_named, refuse_untradable
from kobe_jobs.trading.context import TradingContext, open_ledger, open_session, sends_before_open
from kobe_jobs.trading.entries import NO_BAR, NOT_TRADABLE
from kobe_jobs.trading.executor import resolve
from kobe_jobs.trading.exits import leave_positions
from kobe_jobs.trading.market_snapshot import MarketSnapshot, load_market_snapshot
from kobe_jobs.trading.parity.compare import Mismatch, Trade, compare_trades
from kobe_jobs.trading.parity.trades import ledger_fates, ledger_trades, simulated_trades
from kobe_jobs.trading.reporting.summary import RunSummary
from kobe_jobs.trading.roll_forward import SUSPECT
from kobe_jobs.trading.run_lock import trading_lock
from kobe_jobs.trading.session import trade_session
from kobe_resources.broker.exchange.embedded import EmbeddedBroker, StoredBars
from kobe_resources.broker.open import connect_embedded, embedded_terms
from kobe_resources.broker.quotes import NO_QUOTE
from kobe_resources.errors import KobeError, UsageError
from kobe_resources.kill_switch import KillSwitch
from kobe_resources.order_ledger import Position
from kobe_resources.order_ledger.positions import flag_for_exit, open_positions
from kobe_resources.runtime.process_state import kept_process_state
from kobe_resources.settings.models import Settings
from kobe_resources.warehouse.store import Warehouse

AT_THE_CLOSE = "exit.close"
Progress = Callable[[dt.date, RunSummary], None]


class ReplayFailed(KobeError):
    """A replayed run was halted."""


@dataclass(frozen=True)
class Replay:
    """What a replay yields: both lists of trades and where they differ."""

    strategy: str
    start: dt.date
    end: dt.date
    sessions: int
    simulated: tuple[Trade, ...]
    live: tuple[Trade, ...]
    mismatches: tuple[Mismatch, ...]
    refused: dict[str, int]
    simulated_refused: dict[str, int]
    seconds: float

    @property
    def agrees(self) -> bool:
        """Whether both are the same, trade by trade."""
        return not self.mismatches

    def as_json(self) -> dict[str, Any]:
        """Plain values; dates as text."""
        return {
            "strategy": self.strategy, "start": self.start.isoformat(), "end": self.end.isoformat(),
            "sessions": self.sessions, "trades": len(self.live), "simulated_trades": len(self.simulated),
            "agrees": self.agrees, "refused": self.refused, "simulated_refused": self.simulated_refused,
            "seconds": round(self.seconds, 3),
            "mismatches": [{**asdict(row), "signal_session": row.signal_session.isoformat()} for row in self.mismatches],
        }  # fmt: skip


def replay(
    settings: Settings,
    warehouse: Warehouse,
    start: dt.date,
    end: dt.date,
    strategy: str | None = None,
    progress: Progress = lambda *_: None,
) -> Replay:
    """Replay the sessions from `start` to `end` (both included) and compare. Raises UsageError on a window without sessions."""
    began = time.monotonic()
    name = strategy or settings.portfolio.book
    parts = parts_named(settings, name)
    for part in parts:
        refuse_untradable(part.strategy)
    market = load_market(warehouse, settings)
    first, last = _window(market, start, end)
    simulated, refused = simulate_window(market, settings, parts, first, last)
    sessions: list[dt.date] = market.panel.sessions[first : last + 1].tolist()
    before = market.panel.sessions[max(first - 1, 0)].item()
    snapshot = load_market_snapshot(warehouse, [part.strategy.name for part in parts], before, sessions[-1])
    with tempfile.TemporaryDirectory(prefix="kobe-replay-") as folder:
        live, fates, live_refused = _run_live(
            settings, warehouse, name, snapshot, sessions, before, Path(folder), progress, _suspect(market)
        )
    rows = compare_trades(simulated, live, fates, ((s.symbol, s.session) for day in snapshot.signals.values() for s in day))
    return Replay(
        name, sessions[0], sessions[-1], len(sessions), tuple(simulated), tuple(live), tuple(rows), live_refused, refused,
        time.monotonic() - began,
    )  # fmt: skip


@kept_process_state()
def simulate_window(
    market: Market, settings: Settings, parts: Sequence[Part], first: int, last: int
) -> tuple[list[Trade], dict[str, int]]:
    """The simulation's trades and refusals over session indices `first`..`last`, at the canonical parameters."""
    params = [canonical_params(settings, part.strategy) for part in parts]
    outcome = walk_forward.simulate_book(market, parts, params, first, last)
    frame = book_trades([part.strategy for part in parts], outcome, market.panel)
    return simulated_trades(frame), outcome.refusals()


def _window(market: Market, start: dt.date, end: dt.date) -> tuple[int, int]:
    sessions = market.panel.sessions
    first = int(np.searchsorted(sessions, np.datetime64(start)))
    last = int(np.searchsorted(sessions, np.datetime64(end), side="right")) - 1
    if last < first:
        raise UsageError(
            f"no stored session lies between {start} and {end}", f"bars are stored from {sessions[0]} to {sessions[-1]}"
        )
    return first, last


def _run_live(
    settings: Settings, warehouse: Warehouse, strategy: str, snapshot: MarketSnapshot, sessions: list[dt.date], before: dt.date,
    folder: Path, progress: Progress, suspect: frozenset[tuple[str, dt.date]],
) -> tuple[list[Trade], Any, dict[str, int]]:  # fmt: skip
    bars = StoredBars.of_warehouse(warehouse)
    embedded = EmbeddedBroker(folder / "broker", bars, embedded_terms(settings))
    embedded.book.market.suspect = suspect
    broker = connect_embedded(settings, embedded)
    refused: dict[str, int] = {}
    try:
        with open_ledger(settings, folder / "orders.sqlite", disposable=True) as ledger:
            trading = TradingContext(
                settings, "simulated", broker, ledger, warehouse, KillSwitch(folder / "KILL_SWITCH"), snapshot
            )
            account = ""
            # A listing whose last bar is nearer to the end than this has not ended: its bars are late (rules, section 4.6).
            stored = [day.session for day in bars.days if day.session <= bars.last_session]
            ended_by = set(stored[: -LATE_BARS - 1])
            for session in sessions:
                # Nothing precedes the first session of all, so nothing can be traded on it.
                if session == before:
                    continue
                embedded.advance_to(session, "pre_open" if sends_before_open(settings, strategy) else "open")
                summary = trade_session(trading, session, strategy)
                if summary.halted:
                    raise ReplayFailed(f"the run of {session} was halted: {summary.halted}", "see the mismatch it names")
                account = summary.account
                embedded.advance_to(session, "close")
                _leave_doubted(trading, embedded, account, strategy, session)
                ends = {s for s in bars.symbols if bars.last_session_of(s) == session} if session in ended_by else set()
                _close_of(trading, account, strategy, session, ends, session == sessions[-1])
                for reason, count in summary.refused.items():
                    # Where a session has no bar the embedded broker has no quote: one fact under two names.
                    name = NO_BAR if reason in (NO_QUOTE, NOT_TRADABLE) else reason
                    refused[name] = refused.get(name, 0) + count
                progress(session, summary)
            live = ledger_trades(ledger, account, None, snapshot)
            fates = ledger_fates(ledger, account, None)
    finally:
        broker.close()
    return live, fates, refused


def _suspect(market: Market) -> frozenset[tuple[str, dt.date]]:
    """(symbol, session) of every bar from which no profit may come."""
    if market.suspect is None:
        return frozenset()
    panel, bars = market.panel, np.flatnonzero(market.suspect)
    days = panel.sessions[panel.session[bars]].tolist()
    return frozenset(zip((panel.symbols[place] for place in panel.symbol[bars]), days, strict=True))


def _leave_doubted(
    trading: TradingContext, embedded: EmbeddedBroker, account: str, strategy: str, session: dt.date
) -> None:  # fmt: skip
    """Positions that a suspect bar would bring a profit leave at their mark before it (rules, section 4.3)."""
    exchange = embedded.book.market

    def why(position: Position) -> str:
        bar = exchange.bar(position.symbol, session)
        own = float(position.entry_price)
        mark = own if position.entry_session == session else exchange.close_before(position.symbol, session)
        side = 1.0 if position.side == "long" else -1.0
        is_doubted = (position.symbol, session) in exchange.suspect
        if not is_doubted or bar is None or mark is None or side * (bar.close - mark) <= 0.0:
            return ""
        exchange.marks[position.symbol] = mark
        return SUSPECT

    if any((held.symbol, session) in exchange.suspect for held in open_positions(trading.ledger, account)):
        _leave_at_close(trading, account, strategy, session, why)
        exchange.marks.clear()


def _close_of(trading: TradingContext, account: str, strategy: str, session: dt.date, ends: set[str], is_last: bool) -> None:
    """The end of a session: positions in symbols that trade for the last time leave at the close, and all at the very end."""

    def why(position: Position) -> str:
        return "delisted" if position.symbol in ends else "window_end" if is_last else ""

    if any(map(why, open_positions(trading.ledger, account))):
        _leave_at_close(trading, account, strategy, session, why)


def _leave_at_close(
    trading: TradingContext, account: str, strategy: str, session: dt.date, why: Callable[[Position], str]
) -> None:  # fmt: skip
    """Let each position leave for which `why` names a reason; the stops that its bar triggered come first."""
    with trading_lock(trading.ledger):
        context = open_session(trading, strategy, session)
        resolve(context)
        leaving = []
        for position in open_positions(trading.ledger, account):
            if reason := why(position):
                with trading.ledger.write() as write:
                    flag_for_exit(write, position, reason)
                leaving.append(position.id)
        flagged = [position for position in open_positions(trading.ledger, account) if position.id in leaving]
        leave_positions(context, flagged, AT_THE_CLOSE, any_age=True)
