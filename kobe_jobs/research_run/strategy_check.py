"""The facts of one strategy before its figures are used: warm-up, signals a year, trades, and that it reads no future."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kobe_assets.checks.research import MOST_BARS, describe_lookahead
from kobe_assets.graph.inputs import canonical_params, load_market
from kobe_assets.report.analysis.one_run import describe_doubtful_signals
from kobe_assets.research import simulation as sim
from kobe_assets.research.declared import function_of
from kobe_assets.research.indicators import compute_indicators
from kobe_assets.research.lookahead import SEED, scramble, some_symbols
from kobe_assets.research.metrics import YEAR
from kobe_assets.research.panel import Floats, Panel
from kobe_assets.research.signals import LONG, find_candidates
from kobe_assets.research.strategies import Params, Strategy
from kobe_assets.research.strategies.asking import scored, true_of
from kobe_assets.research.strategies.register import symbols_read
from kobe_assets.research.walk_forward import Market, simulate_window
from kobe_resources.runtime.process_state import kept_process_state
from kobe_resources.settings.models import Settings
from kobe_resources.warehouse.store import Warehouse


@dataclass(frozen=True)
class IndicatorFacts:
    """One declared indicator on the stored bars. first: bars before its first value; None: it never has one. defined: share."""

    name: str
    declared: str
    first: int | None
    defined: float


@dataclass(frozen=True)
class StrategyFacts:
    """What `kobe strategies check` says.

    warmup: bars of a listing before the first signal can be. signals: side → signals a year. leak: where the future was read,
    empty where it was not. notes: what a person should know.
    """

    name: str
    place: str
    indicators: tuple[IndicatorFacts, ...]
    warmup: int | None
    sessions: int
    signals: dict[str, float]
    trades: int
    exits: dict[str, int]
    refused: dict[str, int]
    net_pnl: float
    leak: str
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """One object."""
        return asdict(self)


@kept_process_state()
def check_strategy(settings: Settings, strategy: Strategy) -> StrategyFacts:
    """The facts of a strategy on the stored bars, which must be computed up to the indicators. Nothing is recorded as a try."""
    market, params = load_market(Warehouse(), settings), canonical_params(settings, strategy)
    panel = market.panel
    facts = tuple(_facts(panel, name, str(own), market.indicators[name]) for name, own in strategy.indicators.items())
    candidates = find_candidates(panel, market.readable(), strategy, params)
    years = len(panel.sessions) / YEAR
    outcome = simulate_window(market, strategy, params, 0, len(panel.sessions) - 1)
    reasons = [strategy.leave_reason if name == "leave" else name for name in sim.EXIT_REASONS]
    return StrategyFacts(
        name=strategy.name,
        place=strategy.place,
        indicators=facts,
        warmup=_warmup(market, strategy, params, {one.name: one.first for one in facts}),
        sessions=len(panel.sessions),
        signals={
            "long": float((candidates.side == LONG).sum() / years),
            "short": float((candidates.side != LONG).sum() / years),
        },
        trades=len(outcome.numbers),
        exits=dict(Counter(reasons[code] for code in outcome.places[:, sim.T_REASON])),
        refused=outcome.refusals(),
        net_pnl=float(outcome.numbers[:, sim.PNL].sum()),
        leak=describe_lookahead(market, {strategy.name: params}, {strategy.name: strategy}),
        notes=(
            *_notes(panel, strategy, facts),
            *describe_doubtful_signals(market, strategy, params, 0, len(panel.sessions)),
            *unproven(panel, strategy),
            *_refused(settings, strategy),
        ),
    )


def _warmup(market: Market, strategy: Strategy, params: Params, first: Mapping[str, int | None]) -> int | None:
    """Bars of a listing before a side can give its first signal; None where neither can. first: as of IndicatorFacts, by name.

    A signal waits for what its condition, its score, its stop and its limit read, and for nothing else (rules, section 3).
    """
    readable = market.readable()
    at = readable.reading(strategy, 0, len(readable.close))
    found = []
    for side in ("long", "short"):
        if getattr(strategy, side) is not None:
            read = {name for name in (strategy.stop, strategy.limit) if name is not None}
            scored(strategy, f"score_{side}", at)
            read |= at.read
            true_of(strategy, side, at, params)
            needed = [first[name] for name in read | at.read if name in first]
            if None not in needed:
                found.append(max((one for one in needed if one is not None), default=0))
    return min(found) + market.lag if found else None


def _facts(panel: Panel, name: str, declared: str, values: Floats) -> IndicatorFacts:
    known = ~np.isnan(values)
    bars = np.flatnonzero(known)
    since = bars - panel.start[panel.symbol[bars]]
    return IndicatorFacts(name, declared, int(since.min()) if len(bars) else None, float(known.mean()))


def _notes(panel: Panel, strategy: Strategy, facts: tuple[IndicatorFacts, ...]) -> list[str]:
    missing = sorted(symbols_read([strategy]) - set(panel.names))
    notes = [f"no bars of {symbol} are stored: what reads it is undefined everywhere" for symbol in missing]
    notes += [f"{one.name} is undefined everywhere" for one in facts if one.first is None and not missing]
    if strategy.stop is None:
        notes.append("it has no protective stop: it is simulated only, and neither replayed nor traded")
    if "time_stop" not in strategy.parameters:
        notes.append("it has no time stop")
    return notes


def _refused(settings: Settings, strategy: Strategy) -> list[str]:
    if strategy.short is None or settings.policy.allow_shorts:
        return []
    return ["it sells short, and every short sale is refused while policy.allow_shorts is false"]


@kept_process_state()
def unproven(panel: Panel, strategy: Strategy) -> list[str]:
    """What no comparison of bars can prove of a person's own functions."""
    own = {name: one for name, one in strategy.indicators.items() if function_of(one) is not None}
    if not own:
        return []
    seen = "the proof sees what is computed from the bars, not what a function loads by itself or remembers between calls"
    tried = some_symbols(panel, MOST_BARS, symbols_read([strategy]))
    columns, others = (compute_indicators(one, own) for one in (tried, scramble(tried, -1, SEED)))
    notes = [f"{', '.join(own)}: {seen}"]
    for name in own:
        unmoved = np.array_equal(columns[name], others[name], equal_nan=True)
        if not np.isnan(columns[name]).all() and (unmoved or np.isnan(others[name]).all()):
            what = "is the same whatever the prices are" if unmoved else "is undefined on any other prices"
            notes.append(f"{name} {what}: where it comes from a table, nothing here proves that the table knew it by then")
    return notes
