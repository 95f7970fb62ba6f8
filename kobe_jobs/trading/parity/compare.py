"""Parity: simulated trades against those of the live path, every difference found and classed. Pure: values in, rows out."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from kobe_resources.order_ledger import OrderState

Kind = Literal["no_fill", "veto", "slippage", "size", "data_revision", "timing", "unexplained"]

SAME = 1e-9
OPEN_END = "window_end"


@dataclass(frozen=True, slots=True)
class Trade:
    """One round trip in adjusted prices and shares; exit fields None while it is open.

    share_step: the smallest part of an adjusted share that could be ordered.
    """

    symbol: str
    side: str
    signal_session: dt.date
    entry_session: dt.date
    entry_price: float
    shares: float
    exit_session: dt.date | None
    exit_price: float | None
    exit_reason: str | None
    share_step: float = 0.0

    @property
    def key(self) -> tuple[str, dt.date]:
        """What makes it the same decision on both sides."""
        return self.symbol, self.signal_session


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One difference: which trade, which class, what each side says."""

    kind: Kind
    symbol: str
    signal_session: dt.date
    what: str
    simulated: str
    live: str


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a signal on the live side: its entry's state and reason, and sessions in which an exit went unfilled."""

    state: str
    reason: str = ""
    missed_exits: frozenset[dt.date] = frozenset()


def compare_trades(
    simulated: Iterable[Trade],
    live: Iterable[Trade],
    fates: Mapping[tuple[str, dt.date], Fate],
    signals: Iterable[tuple[str, dt.date]] | None = None,
) -> list[Mismatch]:
    """Every difference, by signal session and symbol; empty where the two are the same, trade by trade.

    fates: by (symbol, signal session). signals: those the stored table holds today; a live trade of another one stood on
    data that were restated since. A trade that the simulation closed at the window's end may still be open on the live side.
    """
    ours = {trade.key: trade for trade in simulated}
    theirs = {trade.key: trade for trade in live}
    known = None if signals is None else set(signals)
    rows: list[Mismatch] = []
    for key in sorted(ours.keys() | theirs.keys(), key=lambda k: (k[1], k[0])):
        if key not in theirs:
            rows.append(_missing_live(ours[key], fates.get(key)))
        elif key not in ours:
            rows.append(_missing_simulated(theirs[key], known))
        else:
            rows.extend(_differences(ours[key], theirs[key], fates.get(key)))
    return rows


def _missing_live(trade: Trade, fate: Fate | None) -> Mismatch:
    seen = "no order" if fate is None else f"{fate.state} {fate.reason}".strip()
    kind: Kind = "data_revision" if fate is None else "veto" if fate.state == OrderState.DENIED else "no_fill"
    return _row(kind, trade, "trade", f"{trade.side} at {trade.entry_price:.6g}", seen)


def _missing_simulated(trade: Trade, known: set[tuple[str, dt.date]] | None) -> Mismatch:
    is_revised = known is not None and trade.key not in known
    return _row("data_revision" if is_revised else "veto", trade, "trade", "none", f"{trade.side} at {trade.entry_price:.6g}")


def _differences(ours: Trade, theirs: Trade, fate: Fate | None) -> list[Mismatch]:
    rows = []
    if ours.side != theirs.side:
        rows.append(_row("data_revision", ours, "side", ours.side, theirs.side))
    if ours.entry_session != theirs.entry_session:
        rows.append(_row("timing", ours, "entry_session", str(ours.entry_session), str(theirs.entry_session)))
    if not _same(ours.entry_price, theirs.entry_price):
        rows.append(_row("slippage", ours, "entry_price", repr(ours.entry_price), repr(theirs.entry_price)))
    step = 1.01 * max(ours.share_step, theirs.share_step)
    if not math.isclose(ours.shares, theirs.shares, rel_tol=SAME, abs_tol=step):
        rows.append(_row("size", ours, "shares", repr(ours.shares), repr(theirs.shares)))
    if theirs.exit_session is None:
        if ours.exit_reason != OPEN_END:
            rows.append(_row(_exit_kind(ours, fate), ours, "exit", f"{ours.exit_reason} {ours.exit_session}", "open"))
        return rows
    if (ours.exit_session, ours.exit_reason) != (theirs.exit_session, theirs.exit_reason):
        seen = f"{theirs.exit_reason} {theirs.exit_session}"
        rows.append(_row(_exit_kind(ours, fate), ours, "exit", f"{ours.exit_reason} {ours.exit_session}", seen))
    elif ours.exit_price is not None and not _same(ours.exit_price, theirs.exit_price or math.nan):
        rows.append(_row("slippage", ours, "exit_price", repr(ours.exit_price), repr(theirs.exit_price)))
    return rows


def _exit_kind(ours: Trade, fate: Fate | None) -> Kind:
    return "no_fill" if fate is not None and ours.exit_session in fate.missed_exits else "timing"


def _same(one: float, two: float) -> bool:
    return math.isclose(one, two, rel_tol=SAME, abs_tol=0.0)


def _row(kind: Kind, trade: Trade, what: str, simulated: str, live: str) -> Mismatch:
    return Mismatch(kind, trade.symbol, trade.signal_session, what, simulated, live)
