"""Kobe from Python: `from kobe_assets import backtest, walk_forward` runs a strategy object and gives DataFrames and charts.

It runs the rules and the compiled simulation of the command line, on the stored bars or on a DataFrame of bars. It reads and
never writes; so what is tried here is not counted among the tries that the report corrects for (`kobe backtest --set` is).
"""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from kobe_assets.checks.research import describe_lookahead
from kobe_assets.graph.frames import equity_frame, folds_frame, stacked, trades_frame
from kobe_assets.graph.given_bars import panel_of_frame
from kobe_assets.graph.inputs import canonical_params, folds_of, load_panel, market_of, stored_symbols, tradable_bars
from kobe_assets.graph.own_strategies import no_strategy, strategies_of
from kobe_assets.report.analysis.one_run import BookRun, describe_doubtful_signals, describe_refusals, run_book
from kobe_assets.report.page.run_figures import equity_figure, symbol_figure
from kobe_assets.research.declared import is_number
from kobe_assets.research.indicators import compute_indicators
from kobe_assets.research.metrics import all_figures
from kobe_assets.research.quarantine import quarantined
from kobe_assets.research.strategies import Params, Strategy
from kobe_assets.research.strategies.asking import try_out
from kobe_assets.research.strategies.base import bad_values, refused_value
from kobe_assets.research.strategies.register import columns_of, symbols_read
from kobe_assets.research.walk_forward import CANONICAL, OPTIMIZED, Market, Part, Study
from kobe_assets.research.walk_forward import walk_forward as walk
from kobe_resources.errors import UsageError, did_you_mean
from kobe_resources.runtime.process_state import kept_process_state
from kobe_resources.settings.load import changed_settings, load_settings
from kobe_resources.settings.models import BOOK, Settings
from kobe_resources.warehouse.notebook import open_warehouse
from kobe_resources.warehouse.store import Warehouse

Day = str | dt.date | None
Changes = Mapping[str, Any] | None


class LookaheadWarning(UserWarning):
    """A strategy reads bars that lie in its future: its figures mean nothing."""


@dataclass(frozen=True)
class Backtest:
    """One run. trades: a row each, in order of exit. equity: by session, with daily_return, exposure, positions and drawdown.

    figures: name → value, those of summary.json (docs/figures.md), None where undefined. refused: reason → signals that became
    no order. notes: what was left out, in words. lookahead: where the strategy reads the future, empty where it was looked for
    and not found, None where it was not.
    """

    strategy: str
    params: dict[str, float]
    trades: pd.DataFrame
    equity: pd.DataFrame
    figures: dict[str, float | None]
    refused: dict[str, int]
    notes: tuple[str, ...]
    lookahead: str | None
    run: BookRun = field(repr=False)

    def plot(self, symbol: str | None = None) -> Any:
        """A plotly figure: equity and drawdown, or the bars of `symbol` with its trades."""
        title = f"{self.strategy} from {self.run.window[0]} to {self.run.window[1]}"
        if symbol is None:
            return equity_figure(title, {self.strategy: self.run.equity})
        return symbol_figure(f"{symbol}, {title}", self.run.panel, symbol, self.run.first, self.run.last, self.trades)

    def __repr__(self) -> str:
        sharpe = _sharpe_text(self.figures)
        return f"<Backtest of {self.strategy}, {len(self.equity)} sessions, {len(self.trades)} trades{sharpe}>"


@dataclass(frozen=True)
class WalkForward:
    """A strategy over all folds, at its canonical parameters and at those that did best in training.

    folds, trades: with `mode` and `fold`. equity: by mode and session, out of sample, each fold going on where the last ended.
    figures: mode → name → value. notes, lookahead: as of `Backtest`.
    """

    strategy: str
    folds: pd.DataFrame
    trades: pd.DataFrame
    equity: pd.DataFrame
    figures: dict[str, dict[str, float | None]]
    notes: tuple[str, ...]
    lookahead: str | None
    study: Study = field(repr=False)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """The Sharpe ratio of every parameter set in every fold's training: a row a fold, a column a set."""
        names = [", ".join(f"{key}={value:g}" for key, value in chosen.items()) for chosen in self.study.sets]
        return pd.DataFrame(self.study.trials, index=pd.Index([f.number for f in self.study.folds], name="fold"), columns=names)

    def plot(self) -> Any:
        """A plotly figure: the chained equity of both modes, and their drawdowns."""
        curves = {mode: self.equity[self.equity["mode"] == mode] for mode in (CANONICAL, OPTIMIZED)}
        return equity_figure(f"{self.strategy} out of sample, {len(self.study.folds)} folds", curves)

    def __repr__(self) -> str:
        sharpe = _sharpe_text(self.figures[CANONICAL])
        return f"<WalkForward of {self.strategy}, {len(self.study.folds)} folds, {len(self.trades)} trades{sharpe}>"


def backtest(
    strategy: Strategy | str,
    bars: pd.DataFrame | None = None,
    *,
    params: Params | None = None,
    settings: Settings | Changes = None,
    start: Day = None,
    end: Day = None,
    check: bool = True,
) -> Backtest:
    """Simulate a strategy over the sessions from `start` to `end`, starting flat, by the rules of reports and trading.

    strategy: an object, or the name of a registered one. bars: a DataFrame with session, open, high, low, close, volume, and
    symbol where there are several (adjusted for splits; see `panel_of_frame`); None: the stored ones, of the universe. params:
    over the canonical ones. settings: changes by dotted name over those in force, or whole `Settings`. check: prove that the
    strategy reads no future, and warn where it does. Raises KobeError, one line with the mend.

    >>> import numpy as np, pandas as pd
    >>> from kobe_assets import backtest
    >>> from kobe_assets.research.language import Strategy, sma
    >>> dip = Strategy(
    ...     name="dip",
    ...     summary="Under the short mean, above the long one",
    ...     indicators={"short": sma(5), "long": sma(50)},
    ...     parameters={"time_stop": 3},
    ...     long=lambda at, p: (at.close < at.short) & (at.close > at.long),
    ...     score_long=lambda at: at.close / at.short,
    ... )
    >>> days = pd.bdate_range("2020-01-01", periods=300, name="session")
    >>> close = 50 + 0.05 * np.arange(300) + 2 * np.sin(np.arange(300) / 3)
    >>> bars = pd.DataFrame({"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 1e6}, index=days)
    >>> run = backtest(dip, bars, settings={"simulation.initial_cash": 10_000, "costs.slippage_bps": 2})
    >>> len(run.trades), int(run.trades["bars_held"].max()), len(run.equity)
    (17, 3, 300)
    >>> run.plot().layout.title.text
    'dip from 2020-01-01 to 2021-02-23'
    """
    settings = _settings(settings)
    declared = _declared(strategy, settings)
    own = _params(settings, declared, params)
    market, more = _market(settings, declared, bars)
    run = run_book(market, declared.name, [Part(declared, 1.0)], [own], _day(start), _day(end))
    return Backtest(
        strategy=declared.name,
        params=own,
        trades=run.trades,
        equity=run.equity.set_index("session"),
        figures=run.told(run.holding(settings)),
        refused=run.outcome.refusals(),
        notes=(*run.notes(settings, stored_symbols(Warehouse(read_only=True)) if bars is None else ()), *more),
        lookahead=_looked(market, declared, own) if check else None,
        run=run,
    )


def walk_forward(
    strategy: Strategy | str,
    bars: pd.DataFrame | None = None,
    *,
    params: Params | None = None,
    grid: Mapping[str, Sequence[float]] | None = None,
    settings: Settings | Changes = None,
    check: bool = True,
) -> WalkForward:
    """Walk a strategy forward over the folds of the settings (`walk_forward.train` and so on): train, choose, trade the unseen.

    grid: parameter → values, the strategy's own without; the rest as of `backtest`.
    """
    settings = _settings(settings)
    declared = _declared(strategy, settings)
    own = _params(settings, declared, params)
    grid = settings.walk_forward.grid.get(declared.name) if grid is None else grid
    _refuse_grid(declared.name, own, grid or {})
    market, more = _market(settings, declared, bars)
    with kept_process_state():
        study = walk(market, declared, own, folds_of(settings, market.panel), grid)
    tested = study.folds[0].test_start, study.folds[-1].test_end
    cash, panel, modes = market.costs.initial_cash, market.panel, ((CANONICAL, study.canonical), (OPTIMIZED, study.optimized))
    equity = pd.concat([_chained(equity_frame(declared.name, mode, found, panel, cash), cash) for mode, found in modes])
    trades = stacked([trades_frame(declared.name, [declared], mode, found, panel) for mode, found in modes])
    figures = {
        mode: all_figures(
            equity.loc[equity["mode"] == mode, "equity"].to_numpy(),
            np.concatenate([result.outcome.exposure for result in found]),
            trades.loc[trades["mode"] == mode, "pnl"].to_numpy(),
            cash,
        )
        for mode, found in modes
    }
    return WalkForward(
        strategy=declared.name,
        folds=folds_frame(declared.name, study, panel, cash),
        trades=trades,
        equity=equity,
        figures=figures,
        notes=(
            *describe_doubtful_signals(market, declared, own, *tested),
            *(f"{mode}: {line}" for mode, found in modes for line in describe_refusals([r.outcome for r in found], settings)),
            *more,
        ),
        lookahead=_looked(market, declared, own) if check else None,
        study=study,
    )


def _refuse_grid(strategy: str, params: Params, grid: Mapping[str, Sequence[float]]) -> None:
    """Raise UsageError where a grid varies what the strategy does not have, or tries what its parameter cannot be."""
    for name, values in grid.items():
        if name not in params:
            what = f"the grid varies {name}, which {strategy} does not have"
            raise UsageError(what, f"it has {', '.join(sorted(params))}")
        if why := bad_values(name, values):
            raise UsageError(f"the grid of {name}: {why}", "mend the grid")


def _chained(equity: pd.DataFrame, initial_cash: float) -> pd.DataFrame:
    """The folds' curves in a row, each going on where the last ended."""
    chained = initial_cash * (1.0 + equity["daily_return"]).cumprod()
    return equity.assign(
        mode=equity["mode"].astype(str), equity=chained, drawdown=chained / chained.cummax().clip(lower=initial_cash) - 1.0
    )


def _sharpe_text(figures: Mapping[str, float | None]) -> str:
    sharpe = figures["sharpe"]
    return "" if sharpe is None else f", Sharpe {sharpe:.2f}"


def _settings(given: Settings | Changes) -> Settings:
    return given if isinstance(given, Settings) else changed_settings(load_settings(), given or {})


def _declared(strategy: Strategy | str, settings: Settings) -> Strategy:
    """The strategy, run once on a few bars so that a fault of it is reported in one line."""
    if isinstance(strategy, Strategy):
        try_out(strategy)
        return strategy
    known = strategies_of(settings)
    if strategy == BOOK:
        raise UsageError(f"{BOOK} is no strategy but several in one account", f"run `kobe backtest --strategy {BOOK}`")
    if strategy not in known:
        raise no_strategy(str(strategy), known)
    return known[strategy]


def _params(settings: Settings, strategy: Strategy, given: Params | None) -> dict[str, float]:
    params = canonical_params(settings, strategy)
    for name, value in (given or {}).items():
        if name not in params:
            what = f"{strategy.name} has no parameter {name!r}{did_you_mean(name, params)}"
            raise UsageError(what, f"it has {', '.join(sorted(params)) or 'none'}")
        if not is_number(value):
            raise UsageError(f"the parameter {name} = {value!r} is no number", "give a number")
        if why := refused_value(name, float(value)):
            raise UsageError(f"the parameter {name} = {value:g}", why)
        params[name] = float(value)
    return params


def _market(settings: Settings, strategy: Strategy, bars: pd.DataFrame | None) -> tuple[Market, list[str]]:
    """What the run reads, and what is to be said of it."""
    if bars is None:
        warehouse = _stored()
        panel = load_panel(warehouse, symbols_read([strategy]))
        tradable = tradable_bars(warehouse, settings, panel)
        notes: list[str] = []
    else:
        panel = panel_of_frame(bars)
        tradable = ~quarantined(panel)
        held = panel.bars - int(tradable.sum())
        notes = [f"{held:,} bars give no signals: they follow a jump that looks like a missing split"] if held else []
    with kept_process_state():
        computed = compute_indicators(panel, columns_of([strategy]))
    return market_of(settings, panel, computed, tradable), notes


def _stored() -> Warehouse:
    open_warehouse()
    return Warehouse(read_only=True)


def _looked(market: Market, strategy: Strategy, params: dict[str, float]) -> str:
    found = describe_lookahead(market, {strategy.name: params}, {strategy.name: strategy})
    if found:
        warnings.warn(f"{strategy.name} reads the future: {found}", LookaheadWarning, stacklevel=3)
    return found


def _day(given: Day) -> dt.date | None:
    if given is None:
        return None
    try:
        day: dt.date = pd.Timestamp(given).date()
    except ValueError:
        raise UsageError(f"{given!r} is no date", "write it as 2020-01-31") from None
    return day
