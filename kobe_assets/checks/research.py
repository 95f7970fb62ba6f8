"""Proofs about signals, folds and figures, as pure functions on frames and panels; `runner` shows them to Dagster.

Each returns what is wrong as a frame (empty: proven), so that a failure can be looked at row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from kobe_assets.report.analysis.stored_curves import WHY
from kobe_assets.research.declared import function_of
from kobe_assets.research.faults import line_of
from kobe_assets.research.indicators import CANONICAL_COLUMNS, Indicators, compute_indicators
from kobe_assets.research.lookahead import SEED, Leak, find_leak, some_symbols
from kobe_assets.research.metrics import FIGURES
from kobe_assets.research.panel import ROW_FACTOR, ROW_OPEN, Floats, Panel
from kobe_assets.research.quarantine import quarantined
from kobe_assets.research.signals import LONG, Candidates, find_candidates, leave_flags, make_readable
from kobe_assets.research.strategies import BUILT_IN, STRATEGIES, Params, Strategy
from kobe_assets.research.strategies.asking import mixed_bar
from kobe_assets.research.strategies.register import columns_of, symbols_read
from kobe_assets.research.walk_forward import Market
from kobe_resources.runtime.process_state import kept_process_state

CENT = 0.005
FEWEST_CUTS, MOST_CUTS = 3, 40
LAST_BARS = 200
"""Last bars before a cut that are looked at in all: a look one bar ahead shows there only, and not in each of them."""
MOST_BARS = 200_000
"""Bars that are recomputed for a proof; of a larger market, evenly spread symbols."""
MOST_MIXED = 50_000
"""Of them, those that are asked for once more in another order, and for how they begin."""
EARLY_CUTS = (1, 30)
"""Sessions after which only noise follows: a first value that is filled from later ones, at 3 bars of warm-up and at many."""


INDICATOR, ENTRIES, EXITS = "indicator", "entries", "exits"


@dataclass(frozen=True)
class Proven:
    """One column of a proof: an indicator by its name, or the entries or the exits of a strategy by its name."""

    part: str
    name: str

    def __str__(self) -> str:
        return f"the {self.part}{' ' if self.part == INDICATOR else ' of '}{self.name}"


@kept_process_state()
def signals_read_no_future(
    market: Market,
    params: Mapping[str, Params],
    compute: Callable[[Panel], Indicators] | None = None,
    cuts: Sequence[int] | None = None,
    strategies: Mapping[str, Strategy] = STRATEGIES,
) -> Leak | None:
    """Recompute indicators and signals with the future cut off, and with noise for a future; the past must be identical.

    So must every indicator that the strategies declare, and the exits by condition. params: canonical parameters by strategy.
    compute: the indicators under test; none: the product's. cuts: session indices; none: spread over the sessions on which
    there are signals, more of them the fewer symbols. Of a market with more than `MOST_BARS` bars, evenly spread symbols are
    taken: every symbol is read by the same code, on its own.
    Universe and quarantine are recomputed with the bars they use.
    """
    declared = columns_of(strategies.values())
    compute = compute or (lambda panel: compute_indicators(panel, declared))
    tried = some_symbols(market.panel, MOST_BARS, symbols_read(strategies.values()))
    member = _member_by_symbol(market)

    def values(panel: Panel) -> list[Floats]:
        indicators = compute(panel)
        tradable = member(panel) & ~quarantined(panel)
        other = replace(market, panel=panel, indicators=indicators, tradable=tradable)
        readable = other.readable()
        columns = [indicators[name] for name in indicators.names]
        for name, strategy in strategies.items():
            columns.append(_scores(panel, find_candidates(panel, readable, strategy, params[name])))
            columns.append(leave_flags(panel, readable, strategy, params[name]).astype(np.float64))
        return columns

    found = find_leak(tried, values, _spread_cuts(tried) if cuts is None else cuts)
    # How Kobe's own strategies begin, and that they answer bar by bar, is known.
    if found is not None or set(strategies) <= set(BUILT_IN):
        return found
    few = some_symbols(tried, MOST_MIXED, symbols_read(strategies.values()))
    early = [cut for cut in EARLY_CUTS if cut < len(few.sessions) - 1] if cuts is None else []
    return find_leak(few, values, (), early) or _mixed_bars(few, compute(few), market.lag, params, strategies)


def _mixed_bars(
    panel: Panel, indicators: Indicators, lag: int, params: Mapping[str, Params], strategies: Mapping[str, Strategy]
) -> Leak | None:
    """Where a condition or a score depends on more than what it reads at the bar: on its neighbours, or on all bars."""
    readable = make_readable(panel, indicators, np.ones(panel.bars, np.bool_), lag, 0.0)
    order = np.random.default_rng(SEED).permutation(len(readable.close))
    for name, strategy in strategies.items():
        found = mixed_bar(strategy, readable.reading(strategy, 0, len(readable.close)), params[name], order)
        if found:
            bar = found[1] + lag
            part = EXITS if found[0].startswith("leave") else ENTRIES
            column = proven_columns(strategies).index(Proven(part, name))
            return Leak("", "order", panel.symbols[panel.symbol[bar]], str(panel.sessions[panel.session[bar]]), column)
    return None


def describe_lookahead(market: Market, params: Mapping[str, Params], strategies: Mapping[str, Strategy]) -> str:
    """Where these strategies read the future (`signals_read_no_future`), as `describe_leak_with_place`; empty: nowhere."""
    found = signals_read_no_future(market, params, strategies=strategies)
    return "" if found is None else describe_leak_with_place(found, strategies)


def describe_leak_with_place(leak: Leak, strategies: Mapping[str, Strategy]) -> str:
    """A leak in words, and in brackets its file and line, where it has one."""
    words, place = describe_leak(leak, strategies), leak_place(leak, strategies)
    return f"{words} ({place})" if place else words


def describe_leak(leak: Leak, strategies: Mapping[str, Strategy]) -> str:
    """A leak in words: what changes of which listing on which session, and when."""
    what = f"{proven_columns(strategies)[leak.column]} of {leak.symbol} on {leak.session}"
    if leak.change == "again":
        return f"{what} is another each time it is computed, so nothing can be proven"
    if leak.change == "order":
        return f"{what} changes with the order of the bars: `at` holds those of many stocks, and each must answer by its own"
    return f"{what} changes when what comes after {leak.cut} is {'cut off' if leak.change == 'truncated' else 'noise'}"


def leak_place(leak: Leak, strategies: Mapping[str, Strategy]) -> str:
    """File and line of what leaks: of a person's own function, else of the strategy that declares it; empty where none does."""
    proven = proven_columns(strategies)[leak.column]
    if proven.part != INDICATOR:
        return strategies[proven.name].place
    for strategy in strategies.values():
        if proven.name in strategy.indicators:
            declared = strategy.indicators[proven.name]
            function = function_of(declared)
            return strategy.place if function is None else line_of(function, declared.place or strategy.place)
    return ""


def proven_columns(strategies: Mapping[str, Strategy]) -> list[Proven]:
    """What the columns of a proof are, of which a `Leak` numbers one."""
    declared = [name for name in columns_of(strategies.values()) if name not in CANONICAL_COLUMNS]
    parts = [Proven(part, name) for name in strategies for part in (ENTRIES, EXITS)]
    return [*(Proven(INDICATOR, name) for name in (*CANONICAL_COLUMNS, *declared)), *parts]


def _spread_cuts(panel: Panel) -> list[int]:
    sessions = len(panel.sessions)
    if sessions <= 2:
        return []
    count = min(max(LAST_BARS // len(panel.symbols), FEWEST_CUTS), MOST_CUTS)
    return [int(k) for k in np.unique(np.linspace(min(260, sessions - 1), sessions - 2, count + 1)[:-1].astype(int))]


def windows_are_disjoint(folds: pd.DataFrame, trades: pd.DataFrame) -> pd.DataFrame:
    """Folds whose test window touches another's or its own training, and trades outside their fold's test window."""
    problems = []
    for (strategy, mode), part in folds.groupby(["strategy", "mode"]):
        ordered = part.sort_values("fold")
        touching = (ordered["test_start"].iloc[1:].to_numpy() <= ordered["test_end"].iloc[:-1].to_numpy()).nonzero()[0]
        problems += [
            (strategy, mode, int(ordered["fold"].iloc[k + 1]), "test window overlaps the one before") for k in touching
        ]
        early = ordered[ordered["test_start"] <= ordered["train_end"]]
        problems += [(strategy, mode, int(fold), "tests on sessions it trained on") for fold in early["fold"]]
    joined = trades.merge(
        folds[["strategy", "mode", "fold", "test_start", "test_end"]], on=["strategy", "mode", "fold"], how="left"
    )
    outside = joined[~((joined["entry_session"] >= joined["test_start"]) & (joined["exit_session"] <= joined["test_end"]))]
    problems += [
        (row.strategy, row.mode, int(row.fold), f"{row.symbol} trades outside the test window") for row in outside.itertuples()
    ]
    return pd.DataFrame(problems, columns=["strategy", "mode", "fold", "problem"])


def cash_is_conserved(folds: pd.DataFrame, trades: pd.DataFrame, equity: pd.DataFrame, initial_cash: float) -> pd.DataFrame:
    """Folds whose final equity is not initial cash + Σ pnl to the cent."""
    key = ["strategy", "mode", "fold"]
    final = equity.sort_values("session").groupby(key)["equity"].last(skipna=False)
    earned = trades.groupby(key)["pnl"].sum()
    table = folds.set_index(key)[["net_pnl"]].join(final).join(earned).fillna({"pnl": 0.0}).reset_index()
    gap = table["equity"] - initial_cash - table["pnl"]
    # ~(…) so that a missing or non-finite value counts as a failure.
    return table.assign(gap=gap)[~(gap.abs() <= CENT) | ~((table["net_pnl"] - table["pnl"]).abs() <= CENT)]


def entries_follow_signals(
    panel: Panel, trades: pd.DataFrame, slippage: float, at_limits: Collection[str] = ()
) -> pd.DataFrame:
    """Trades that were not filled at the open of the session right after their signal (a same-bar fill reads the future).

    at_limits: strategies that enter at limits; their fills lie between the best price of the bar and the open with its
    slippage, which may lie outside the bar.
    """
    place = {symbol: index for index, symbol in enumerate(panel.names)}
    symbol = trades["symbol"].map(place).to_numpy(np.int64)
    entry = np.searchsorted(panel.sessions, trades["entry_session"].to_numpy().astype("datetime64[D]"))
    signal = np.searchsorted(panel.sessions, trades["signal_session"].to_numpy().astype("datetime64[D]"))
    bar = panel.bars_at(symbol, np.minimum(entry, len(panel.sessions) - 1))
    side = np.where(trades["side"] == "long", 1.0, -1.0)
    fill = panel.rows[bar, ROW_OPEN] * (1.0 + side * slippage)
    price = trades["entry_price"].to_numpy(float)
    best = np.where(side > 0, panel.low[bar] * (1.0 - 1e-9), panel.high[bar] * (1.0 + 1e-9))
    inside = (side * (price - best) >= 0.0) & (side * (price - fill) <= 0.0)
    is_fill = np.isclose(fill, price, rtol=1e-9, atol=0.0) | (inside & trades["entered_by"].isin(list(at_limits)).to_numpy())
    right = (bar >= 0) & (entry == signal + 1) & is_fill
    right &= np.isclose(trades["shares"] * panel.rows[bar, ROW_FACTOR], trades["qty"], rtol=1e-9)
    return trades[~right]


def figures_are_complete(kpis: pd.DataFrame, reasons: pd.DataFrame, books: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Figures that are missing, not finite, or null without a reason."""
    value = {(row.strategy, row.mode, row.figure): row.value for row in kpis.itertuples()}
    why = {(row.strategy, row.mode, row.figure) for row in reasons.itertuples()}
    problems = []
    for strategy, mode in books:
        for figure in (*FIGURES, *(name for name in WHY if name not in FIGURES)):
            key = (strategy, mode, figure)
            if key not in value:
                problems.append((*key, "is missing"))
            elif value[key] is None or value[key] != value[key]:
                if key not in why:
                    problems.append((*key, "is null without a reason"))
            elif not np.isfinite(value[key]):
                problems.append((*key, "is not finite"))
    return pd.DataFrame(problems, columns=["strategy", "mode", "figure", "problem"])


def _member_by_symbol(market: Market) -> Callable[[Panel], np.ndarray]:
    """Who may trade on which session, as a lookup for panels with other bars of the same market."""
    panel = market.panel
    # Quarantine is the panel's own; what is left of `tradable` is membership, which holds for whole spans of a symbol.
    allowed = market.tradable | quarantined(panel)
    dense = np.zeros((len(panel.sessions), len(panel.names)), np.bool_)
    dense[panel.session, panel.name[panel.symbol]] = allowed
    place = {symbol: index for index, symbol in enumerate(panel.names)}

    def member(other: Panel) -> np.ndarray:
        columns = np.array([place[symbol] for symbol in other.symbols], dtype=np.int64)
        found: np.ndarray = dense[other.session, columns[other.symbol]]
        return found

    return member


def _scores(panel: Panel, candidates: Candidates) -> Floats:
    scores = np.full(panel.bars, np.nan)
    scores[candidates.bar] = np.where(candidates.side == LONG, 1.0, -1.0) * (1.0 + candidates.score)
    return scores
