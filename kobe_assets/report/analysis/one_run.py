"""One simulation of one book over one window: its trades, its curve, its figures, and what was cut, in words."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from kobe_assets.graph.frames import book_trades
from kobe_assets.report.analysis.cautions import AS_WANTED, remedy_for
from kobe_assets.report.analysis.cut_trades import describe_debt
from kobe_assets.report.analysis.day_returns import beside_holding, worst_days
from kobe_assets.report.analysis.drawdowns import longest_underwater
from kobe_assets.report.analysis.trade_stats import wins_and_losses
from kobe_assets.research import simulation as sim
from kobe_assets.research.metrics import all_figures, curve_figures, daily_returns
from kobe_assets.research.panel import Floats, Ints, Panel
from kobe_assets.research.quarantine import distrusted_moves, suspects
from kobe_assets.research.robustness import buy_and_hold
from kobe_assets.research.signals import find_candidates, unscored
from kobe_assets.research.strategies import BUILT_IN, Params, Strategy
from kobe_assets.research.strategies.register import symbols_read
from kobe_assets.research.walk_forward import Market, Part, simulate_book
from kobe_resources.errors import UsageError
from kobe_resources.policy_gate import ACCEPTED, BY_RISK
from kobe_resources.runtime.process_state import kept_process_state
from kobe_resources.settings.models import Settings

HELD = ("sharpe", "cagr", "max_drawdown")
"""Figures of holding that stand beside those of a run."""


@dataclass(frozen=True)
class BookRun:
    """A book that was simulated over the sessions `first`..`last` (indices).

    params: those of each part, in their order. asked: the window that was wanted; None: as far as there are bars.
    """

    name: str
    parts: tuple[Part, ...]
    params: tuple[Mapping[str, float], ...]
    market: Market
    first: int
    last: int
    outcome: sim.Outcome
    asked: tuple[dt.date | None, dt.date | None]

    @property
    def panel(self) -> Panel:
        """The bars it ran on."""
        return self.market.panel

    @property
    def initial_cash(self) -> float:
        """Dollars it began with."""
        return self.market.costs.initial_cash

    @property
    def window(self) -> tuple[str, str]:
        """Its first and last session."""
        return str(self.panel.sessions[self.first]), str(self.panel.sessions[self.last])

    @cached_property
    def trades(self) -> pd.DataFrame:
        """One row a trade, in order of exit."""
        return book_trades([part.strategy for part in self.parts], self.outcome, self.panel)

    @cached_property
    def equity(self) -> pd.DataFrame:
        """One row a session: equity, daily_return, exposure, positions, drawdown (a fraction of the highest equity so far)."""
        equity = self.outcome.equity
        peak = np.maximum.accumulate(np.maximum(equity, self.initial_cash))
        return pd.DataFrame(
            {
                "session": self.panel.sessions[self.first : self.last + 1].astype("datetime64[s]"),
                "equity": equity,
                "daily_return": daily_returns(equity, self.initial_cash),
                "exposure": self.outcome.exposure,
                "positions": self.outcome.positions,
                "drawdown": np.maximum(equity / peak - 1.0, -1.0),
            }
        )

    @cached_property
    def figures(self) -> dict[str, float | None]:
        """Every figure of the window; None where it is undefined."""
        return all_figures(self.outcome.equity, self.outcome.exposure, self.outcome.numbers[:, sim.PNL], self.initial_cash)

    @cached_property
    def more_figures(self) -> dict[str, float | None]:
        """What is asked of one run beside `figures`, by the names of `RUN_FIGURES`; None where it is undefined."""
        return {
            "final_equity": float(self.outcome.equity[-1]),
            "longest_underwater": longest_underwater(self.equity),
            **worst_days(self.equity["daily_return"].to_numpy(float)),
            **wins_and_losses(self.trades["pnl"].to_numpy(float)),
        }

    def holding(self, settings: Settings) -> Floats:
        """What holding made of the same cash, at each close: the listings that may trade, bought in equal parts and left alone.

        As the benchmark of the report (rules, section 6), over the sessions of the run.
        """
        panel, bought = self.panel, max(self.first - 1, 0)
        places = np.unique(panel.symbol[self.market.tradable])
        distrusted = distrusted_moves(panel, suspects(panel), settings.universe.release)
        growth = buy_and_hold(panel, bought, self.last, places.tolist(), distrusted)
        equity: Floats = self.initial_cash * growth[self.first :] / growth[bought]
        return equity

    def held(self, holding: Floats) -> dict[str, float | None]:
        """What holding came to: its last equity, and `HELD`. holding: as `BookRun.holding` gives it."""
        found = curve_figures(daily_returns(holding, self.initial_cash))
        return {"final_equity": float(holding[-1]), **{name: found[name] for name in HELD}}

    def against(self, holding: Floats) -> dict[str, float | None]:
        """Beta and correlation of the run's days with those of holding, by the names of `RUN_FIGURES`."""
        return beside_holding(self.equity["daily_return"].to_numpy(float), daily_returns(holding, self.initial_cash))

    def told(self, holding: Floats) -> dict[str, float | None]:
        """Every figure that is told of the run, by the names of `FIGURES` and `RUN_FIGURES`; None where it is undefined."""
        return {**self.figures, **self.more_figures, **self.against(holding)}

    def notes(self, settings: Settings, stored: Sequence[str] = ()) -> list[str]:
        """What the run leaves out of what was asked: sessions, symbols, signals, and positions that its end closed.

        settings: those it ran with, which the mends name. stored: symbols of which there are bars, beside those of the panel.
        """
        return [
            *self._ruined(),
            *self._clipped(),
            *self._unread(),
            *self._doubtful(),
            *self._untraded(stored),
            *self._refused(settings),
            *self._closed(),
        ]

    def _ruined(self) -> list[str]:
        lost = np.flatnonzero(self.outcome.equity <= 0)
        if not len(lost):
            return []
        day = self.panel.sessions[self.first + lost[0]]
        return [f"the account was ruined on {day}: {describe_debt(float(self.outcome.equity[-1]))}"]

    def _clipped(self) -> list[str]:
        (start, end), (first, last) = self.asked, self.window
        bars = f"the bars run from {self.panel.sessions[0]} to {self.panel.sessions[-1]}"
        notes = []
        if start is not None and start < self.panel.sessions[0].astype(dt.date):
            notes.append(f"the window begins on {first} and not on {start}: {bars}")
        if end is not None and end > self.panel.sessions[-1].astype(dt.date):
            notes.append(f"the window ends on {last} and not on {end}: {bars}")
        return notes

    def _unread(self) -> list[str]:
        missing = sorted(symbols_read([part.strategy for part in self.parts]) - set(self.panel.names))
        return [f"no bars of {symbol} are stored: what reads it is undefined everywhere" for symbol in missing]

    def _doubtful(self) -> list[str]:
        parts = zip(self.parts, self.params, strict=True)
        return [
            note
            for part, own in parts
            for note in describe_doubtful_signals(self.market, part.strategy, own, self.first, self.last)
        ]

    def _untraded(self, stored: Sequence[str]) -> list[str]:
        panel = self.panel
        may_trade = {panel.names[k] for k in np.unique(panel.name[panel.symbol[self.market.tradable]])}
        known = sorted({*panel.names, *stored})
        idle = [name for name in known if name not in may_trade]
        if not idle:
            return []
        named = ", ".join(idle[:5]) + (f" and {len(idle) - 5} more" if len(idle) > 5 else "")
        return [f"{len(idle)} of {len(known)} symbols with bars may not trade (universe, quarantine): {named}"]

    def _refused(self, settings: Settings) -> list[str]:
        return describe_refusals([self.outcome], settings)

    def _closed(self) -> list[str]:
        open_at_end = int((self.outcome.places[:, sim.T_REASON] == sim.WINDOW_END).sum())
        if not open_at_end:
            return []
        positions = f"{open_at_end} position was" if open_at_end == 1 else f"{open_at_end} positions were"
        return [f"{positions} still open at the end, and closed at the last price (window_end)"]


def describe_refusals(outcomes: Sequence[sim.Outcome], settings: Settings) -> list[str]:
    """How many signals of the windows the gate refused, by reason, and the mend of the largest that is no wish."""
    total: Counter[str] = Counter()
    for outcome in outcomes:
        total.update(outcome.refusals())
    if not total:
        return []
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in total.most_common())
    mends = (remedy_for(reason, settings) for reason, _ in total.most_common() if reason not in AS_WANTED)
    mend = next((f"; {mend}" for mend in mends if mend), "")
    accepted = sum(int(outcome.refused[ACCEPTED]) for outcome in outcomes)
    return [f"{total.total():,} of {total.total() + accepted:,} signals were refused: {reasons}{mend}"]


@kept_process_state()
def describe_doubtful_signals(market: Market, strategy: Strategy, params: Params, first: int, last: int) -> list[str]:
    """What is doubtful about the signals of a person's own strategy between two sessions (indices), in words."""
    if strategy.name in BUILT_IN:
        return []
    panel, readable, notes = market.panel, market.readable(), []

    def count(bars: Ints) -> int:
        session = panel.session[bars]
        return int(((session >= first) & (session <= last)).sum())

    if missing := count(unscored(readable, strategy, params)):
        notes.append(f"{missing:,} times {strategy.name} wanted in and gave no signal: its score is no number there")
    if strategy.stop is not None and market.limits.mode != BY_RISK:
        bars = find_candidates(panel, readable, strategy, params).bar
        backward = count(bars[market.indicators[strategy.stop][bars - market.lag] <= 0.0])
        if backward:
            notes.append(
                f"{backward:,} of {count(bars):,} signals of {strategy.name} have {strategy.stop} at zero or below, and so a"
                " stop that the entry itself reaches: name an indicator for stop= that is always above zero"
            )
    return notes


@kept_process_state()
def run_book(
    market: Market,
    name: str,
    parts: Sequence[Part],
    params: Sequence[Mapping[str, float]],
    start: dt.date | None = None,
    end: dt.date | None = None,
) -> BookRun:
    """Simulate a book over the sessions from `start` to `end`, both included. Raises UsageError where there is none."""
    sessions = market.panel.sessions
    first = 0 if start is None else int(np.searchsorted(sessions, np.datetime64(start)))
    after = len(sessions) if end is None else int(np.searchsorted(sessions, np.datetime64(end), side="right"))
    if first >= after:
        raise UsageError(
            f"no session lies between {start or sessions[0]} and {end or sessions[-1]}",
            f"the bars run from {sessions[0]} to {sessions[-1]}",
        )
    outcome = simulate_book(market, parts, params, first, after - 1)
    return BookRun(name, tuple(parts), tuple(params), market, first, after - 1, outcome, (start, end))
