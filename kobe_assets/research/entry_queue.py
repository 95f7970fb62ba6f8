"""From signals to sized orders: the opens that would fill them, and what the policy gate makes of each; the kernel's feed.

A signal is looked up once, whatever it costs to fill; an order is sized once, whatever portfolio meets it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kobe_assets.research.panel import ROW_FACTOR, ROW_FOLLOWS, ROW_OPEN, Bools, Floats, Indices, Ints, Panel
from kobe_assets.research.parallel import CORES, in_slices, in_threads
from kobe_assets.research.signals import Candidates
from kobe_resources.policy_gate import ACCEPTED, Limits, size_entry
from kobe_resources.runtime.jit import njit, prefetch

SIGNALS_AHEAD = 16
"""Signals whose bars are on their way while one is looked up."""


class Costs(NamedTuple):
    """What a fill costs and a portfolio starts with: dollars, and slippage as a fraction of the price."""

    initial_cash: float
    slippage: float


class Feed(NamedTuple):
    """A panel and one parameter set's signals as the kernel takes them; shared, never copied, between simulations.

    entry_*: (signals) in trading order: the flat bar of the next session's open (-1: no bar), and the sized order.
    cheapest: the smallest notional (dollars) of the sized orders. leave: (bars) bit 1 a long, bit 2 a short wants out.
    """

    rows: Floats
    last_session: Ints
    entry_first: Ints
    entry_symbol: Indices
    entry_side: NDArray[np.int8]
    entry_bar: Ints
    entry_atr: Floats
    entry_code: NDArray[np.int8]
    entry_qty: Floats
    entry_notional: Floats
    cheapest: float
    leave: NDArray[np.uint8]


ENTRY_COLUMNS = tuple(name for name in Feed._fields if name.startswith("entry_") and name != "entry_first")


class Offers(NamedTuple):
    """Signals and the opens that would fill them, in trading order: all that sizing an order reads.

    first: (sessions + 1) offsets by session. symbol, side, atr: (signals) as at the signal. bar: the flat bar of the next
    session's open, or -1. open, factor: that bar's (dollars, adjusted).
    """

    first: Ints
    symbol: Indices
    side: NDArray[np.int8]
    bar: Ints
    atr: Floats
    open: Floats
    factor: Floats


def fetch_offers(panel: Panel, candidates: Candidates, atr: Floats, lag: int) -> Offers:
    """Look up every signal's next open. atr: (bars) unlagged ATR, read `lag` bars before each signal's bar."""
    bars, n = candidates.by_bar, len(candidates.by_bar)
    columns: list[NDArray[Any]] = [np.empty(n, np.int32), np.empty(n, np.int64), np.empty(n), np.empty(n), np.empty(n)]
    in_slices(n, CORES, lambda begin, end: _fetch(panel.rows, panel.start, bars, atr, lag, begin, end, *columns))

    symbol, bar, atrs, opened, factor = in_threads(lambda column: column[candidates.order], columns)
    return Offers(candidates.first, symbol, candidates.side, bar, atrs, opened, factor)


@njit
def _fetch(
    rows: Floats, start: Ints, bars: Ints, atr: Floats, lag: int, begin: int, end: int,
    symbol: Indices, bar: Ints, atrs: Floats, opened: Floats, factor: Floats,
) -> None:  # fmt: skip
    """In order of bars, and with nothing that waits for what was fetched: so fetches overlap."""
    final = len(rows) - 1
    of = np.searchsorted(start, bars[begin], side="right") - 1 if begin < end else 0
    for j in range(begin, end):
        while bars[j] >= start[of + 1]:
            of += 1
        symbol[j] = of
        ahead = bars[min(j + SIGNALS_AHEAD, end - 1)]
        prefetch(rows, ahead + 1)
        prefetch(atr, ahead - lag)
        after = min(bars[j] + 1, final)
        follows = (after > bars[j]) & (rows[after, ROW_FOLLOWS] != 0.0)
        bar[j], atrs[j] = after if follows else -1, atr[bars[j] - lag]
        opened[j], factor[j] = rows[after, ROW_OPEN], rows[after, ROW_FACTOR]


def size_offers(panel: Panel, offers: Offers, costs: Costs, limits: Limits, leave: NDArray[np.uint8]) -> Feed:
    """What the kernel reads of a panel and its signals; every order is sized once, by the policy gate.

    leave: (bars) flags of the exits by condition.
    """
    n = len(offers.bar)
    code, qty, notional = np.empty(n, np.int8), np.empty(n), np.empty(n)

    def part(begin: int, end: int) -> float:
        return _size(limits, costs.slippage, offers, begin, end, code, qty, notional)

    cheapest = min(in_slices(n, CORES, part))
    return Feed(
        rows=panel.rows,
        last_session=panel.last_session_of(),
        entry_first=offers.first,
        entry_symbol=offers.symbol,
        entry_side=offers.side,
        entry_bar=offers.bar,
        entry_atr=offers.atr,
        entry_code=code,
        entry_qty=qty,
        entry_notional=notional,
        cheapest=cheapest if cheapest < np.inf else 0.0,
        leave=leave,
    )


def placeable_only(feed: Feed, mine: Bools, leave: NDArray[np.uint8]) -> Feed:
    """The signals of one parameter set that can become orders: all that a trial needs, since it counts no refusals."""
    return select(feed, mine & (feed.entry_code == ACCEPTED), leave)


def select(feed: Feed, keep: Bools, leave: NDArray[np.uint8]) -> Feed:
    """The same feed with some of its signals and another set's exits."""
    kept = np.flatnonzero(keep)
    if len(kept) == len(keep):
        return feed._replace(leave=leave)
    return feed._replace(
        entry_first=np.searchsorted(kept, feed.entry_first),
        leave=leave,
        **{name: getattr(feed, name)[kept] for name in ENTRY_COLUMNS},
    )


@njit
def _size(
    limits: Limits, slippage: float, offers: Offers, begin: int, end: int, code: NDArray[np.int8], qty: Floats, notional: Floats
) -> float:
    """Size the offers `begin`..`end`; the smallest notional of an accepted one, or infinity."""
    least = np.inf
    bar, side, opened, factor = offers.bar, offers.side, offers.open, offers.factor
    for j in range(begin, end):
        if bar[j] < 0:
            code[j], qty[j], notional[j] = 0, 0.0, 0.0
        else:
            raw = opened[j] * (1.0 + side[j] * slippage) / factor[j]
            code[j], qty[j], _, notional[j] = size_entry(limits, side[j] > 0, raw)
            least = min(least, notional[j] if code[j] == ACCEPTED else np.inf)
    return least
