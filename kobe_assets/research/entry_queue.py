"""Entries: signals beside the bars that could fill them, in trading order; what the simulation's kernel reads.

A signal is looked up once for all parameter sets, costs and limits; a parameter set picks its own signals from all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kobe_assets.research.costs import Costs
from kobe_assets.research.panel import ROW_FACTOR, ROW_FOLLOWS, ROW_OPEN, Bools, Floats, Indices, Ints, Panel
from kobe_assets.research.parallel import CORES, in_slices, in_threads
from kobe_assets.research.signals import Candidates
from kobe_resources.policy_gate import (
    ACCEPTED,
    AT_OPENING_AUCTION,
    AT_QUOTE,
    FIXED,
    NO_BAR,
    Limits,
    Proposal,
    price_entry,
    size_entry,
)
from kobe_resources.runtime.jit import njit, prefetch

SIGNALS_AHEAD = 16
"""Signals whose bars are on their way to the cache while others are looked up."""
NO_LEVEL = np.empty(0)
"""In the place of an indicator: the strategy has no such price."""


class Entries(NamedTuple):
    """(signals) what an entry needs to know, in trading order.

    symbol: index. side: +1 or -1. strategy: index into the strategies of the book. bar: flat index of the next session's bar,
    or -1 without one. close: of the signal's bar, adjusted. open, factor: of `bar`. stop, limit: the values, as read, of the
    indicators whose multiples the stop and the limit lie away (adjusted dollars; NaN without). code, price: the gate's word
    on the order alone and its limit as traded, for the kinds of entry whose limit no parameter moves. qty: its size in shares
    as traded where the account moves it neither, NaN elsewhere.
    """

    symbol: Indices
    side: NDArray[np.int8]
    strategy: NDArray[np.int8]
    bar: Ints
    close: Floats
    open: Floats
    factor: Floats
    stop: Floats
    limit: Floats
    code: NDArray[np.int8]
    price: Floats
    qty: Floats


class Feed(NamedTuple):
    """A panel and the entries of one book as the kernel takes them; shared, never copied, between simulations.

    first: (sessions + 1) offsets into `entries` by the signals' session.
    leave: (strategies, bars) bit 1: a long wants out, bit 2: a short does, bit 4: the bar is suspect.
    """

    rows: Floats
    last_session: Ints
    entries: Entries
    first: Ints
    leave: NDArray[np.uint8]


LONG_OUT, SHORT_OUT, SUSPECT = 1, 2, 4


def find_entries(panel: Panel, candidates: Candidates, stop: Floats | None, limit: Floats | None, lag: int) -> Entries:
    """The entries of one strategy's signals. stop, limit: (bars) unlagged indicators, read `lag` bars late; None: no price."""
    bars, n = candidates.by_bar, len(candidates.by_bar)
    levels = [NO_LEVEL if level is None else level for level in (stop, limit)]
    columns: list[NDArray[Any]] = [np.empty(n, np.int32), np.empty(n, np.int64), *(np.empty(n) for _ in range(3))]
    columns += [np.empty(len(level) and n) for level in levels]

    def fetch(begin: int, end: int) -> None:
        _fetch(panel.rows, panel.close, panel.start, bars, levels[0], levels[1], lag, begin, end, *columns)

    def ordered(column: NDArray[Any]) -> NDArray[Any]:
        return column[candidates.order] if len(column) == n else np.full(n, np.nan)

    in_slices(n, CORES, fetch)
    symbol, bar, close, opened, factor, stops, limits = in_threads(ordered, columns)
    return Entries(
        symbol=symbol, side=candidates.side, strategy=np.zeros(n, np.int8), bar=bar, close=close, open=opened, factor=factor,
        stop=stops, limit=limits, code=np.zeros(n, np.int8), price=np.empty(n), qty=np.empty(n),
    )  # fmt: skip


@njit
def _fetch(
    rows: Floats, closes: Floats, start: Ints, bars: Ints, stop: Floats, limit: Floats, lag: int, begin: int, end: int,
    symbol: Indices, bar: Ints, close: Floats, opened: Floats, factor: Floats, stops: Floats, limits: Floats,
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
        if len(stop):
            prefetch(stop, ahead - lag)
        after = min(bars[j] + 1, final)
        follows = (after > bars[j]) & (rows[after, ROW_FOLLOWS] != 0.0)
        bar[j] = after if follows else -1
        close[j], opened[j], factor[j] = closes[bars[j]], rows[after, ROW_OPEN], rows[after, ROW_FACTOR]
        if len(stop):
            stops[j] = stop[bars[j] - lag]
        if len(limit):
            limits[j] = limit[bars[j] - lag]


def price_entries(entries: Entries, costs: Costs, limits: Limits, auction: bool, weights: Sequence[float] = (1.0,)) -> Entries:
    """The entries with the gate's word on each order alone, at these costs and limits.

    auction: in the opening auction. weights: of the strategies of the book.
    """
    code, price, qty = np.empty(len(entries.bar), np.int8), np.empty(len(entries.bar)), np.empty(len(entries.bar))
    kind, parts = AT_OPENING_AUCTION if auction else AT_QUOTE, np.array(weights, np.float64)
    in_slices(
        len(code), CORES,
        lambda begin, end: _price(entries, begin, end, kind, costs.slippage, limits, parts, code, price, qty),
    )  # fmt: skip
    return entries._replace(code=code, price=price, qty=qty)


@njit
def _price(
    entries: Entries, begin: int, end: int, kind: int, slip: float, limits: Limits, weights: Floats,
    code: NDArray[np.int8], price: Floats, qty: Floats,
) -> None:  # fmt: skip
    is_sized = limits.mode == FIXED and not limits.max_order_fraction < np.inf
    for j in range(begin, end):
        side, factor = float(entries.side[j]), entries.factor[j]
        qty[j] = np.nan
        if entries.bar[j] < 0:
            code[j], price[j] = NO_BAR, 0.0
            continue
        fill = entries.open[j] * (1.0 + side * slip)
        order = Proposal(side > 0.0, kind, True, fill / factor, entries.close[j] / factor, 0.0, entries.stop[j], 1.0)
        code[j], price[j] = price_entry(limits, order)
        if is_sized and code[j] == ACCEPTED:
            code[j], qty[j], _ = size_entry(limits, weights[entries.strategy[j]], 0.0, price[j], 0.0)


def make_feed(panel: Panel, first: Ints, entries: Entries, leave: NDArray[np.uint8]) -> Feed:
    """The feed of every entry. first: (sessions + 1) offsets of the entries by session."""
    return Feed(panel.rows, panel.last_session_of(), entries, first, np.atleast_2d(leave))


def select(feed: Feed, keep: Bools, leave: NDArray[np.uint8]) -> Feed:
    """The same feed with some of its entries and another parameter set's exits. keep: (entries) true for those that stay."""
    kept = np.flatnonzero(keep)
    columns: list[Any] = [column[kept] for column in feed.entries] if len(kept) < len(keep) else list(feed.entries)
    entries = Entries(*columns)
    return feed._replace(first=np.searchsorted(kept, feed.first), entries=entries, leave=np.atleast_2d(leave))


def within(feed: Feed, first: int, last: int) -> Feed:
    """The same feed with those entries only that can be filled in the sessions `first`..`last`."""
    begin, end = feed.first[max(first - 1, 0)], feed.first[last]
    entries = Entries(*(column[begin:end] for column in feed.entries))  # type: ignore[arg-type]
    return feed._replace(first=np.clip(feed.first, begin, end) - begin, entries=entries)


def interleave(panel: Panel, feeds: list[Feed]) -> Feed:
    """The feed of a book of several strategies: each one's best signal of a session first, then each one's second, so on."""
    session = np.concatenate([np.repeat(np.arange(len(feed.first) - 1), np.diff(feed.first)) for feed in feeds])
    rank = np.concatenate(
        [np.arange(len(feed.entries.bar)) - np.repeat(feed.first[:-1], np.diff(feed.first)) for feed in feeds]
    )
    strategy = np.repeat(np.arange(len(feeds), dtype=np.int8), [len(feed.entries.bar) for feed in feeds])
    order = np.lexsort((strategy, rank, session))
    columns: list[Any] = [np.concatenate(some)[order] for some in zip(*(feed.entries for feed in feeds), strict=True)]
    entries = Entries(*columns)
    entries = entries._replace(strategy=strategy[order])
    first = np.searchsorted(session[order], np.arange(len(feeds[0].first)))
    return make_feed(panel, first, entries, np.concatenate([feed.leave for feed in feeds]))
