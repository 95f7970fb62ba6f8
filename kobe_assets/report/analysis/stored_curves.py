"""The figures of `kpis` and the curves of `evidence`, from stored folds, trades and every trial on record."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kobe_assets.graph.doubts import doctor_rows
from kobe_assets.graph.frames import stop_multiples
from kobe_assets.graph.inputs import canonical_params, folds_of, grid_of, parts_of, studied
from kobe_assets.graph.own_strategies import strategies_of
from kobe_assets.report.analysis.correlation import without_each
from kobe_assets.report.analysis.inputs import read_trades
from kobe_assets.report.analysis.luck import luck_evidence
from kobe_assets.report.analysis.tries import tries_on_record
from kobe_assets.research import overfitting, robustness
from kobe_assets.research.metrics import FIGURES, WHY_UNDEFINED, YEAR, chain_returns, curve_figures, sharpe, trade_figures
from kobe_assets.research.panel import ROW_DIVIDEND
from kobe_assets.research.parallel import in_threads
from kobe_assets.research.quarantine import distrusted_moves, suspects
from kobe_assets.research.risk import initial_stops
from kobe_assets.research.walk_forward import Market, find_signals, grid_sets
from kobe_resources.runtime.process_state import kept_process_state
from kobe_resources.runtime.sql_files import read_sql
from kobe_resources.settings.models import BOOK

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from kobe_assets.report.analysis.tries import Tries
    from kobe_assets.research.panel import Floats, Panel
    from kobe_assets.research.quarantine import Suspects
    from kobe_assets.research.signals import Readable
    from kobe_assets.research.strategies import Params
    from kobe_assets.research.walk_forward import Fold, Found, Part
    from kobe_resources.settings.models import Settings
    from kobe_resources.warehouse.store import Warehouse

HERE = Path(__file__).parent
HISTOGRAM_BINS = 40
Key = tuple[str, str]
Evidence = dict[Key, dict[str, Any]]

WHY = {
    **WHY_UNDEFINED,
    "sharpe_lo": "no Sharpe ratio to resample",
    "sharpe_hi": "no Sharpe ratio to resample",
    "psr": "no Sharpe ratio",
    "dsr": "no Sharpe ratio, or no recorded trials with one",
    "min_trl_years": "the Sharpe ratio is not above zero: no history is long enough",
    "pbo": "fewer than two trials that differ, or fewer than 32 sessions",
    "wfe": "training made no money",
    "break_even_bps": "no Sharpe ratio, or it does not fall through zero once between -500 and 500 bps",
    "sqn": "fewer than two trades, or results that never vary",
    "turnover": "no session, or an equity that is not above 0 on average",
    "permutation_p": "no trade, no Sharpe ratio, no drawn run that came out otherwise, or report.permutations is 0",
    "avg_holding": "no trade",
}


NO_STOP = "no trade had a protective stop, so no risk is known"


def compute_evidence(
    warehouse: Warehouse,
    market: Market,
    settings: Settings,
    trades: pd.DataFrame | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> Evidence:
    """Everything the page draws that is no table: costs, lag, hindsight, PBO, luck, the benchmarks, and what is suspect.

    trades: what `read_trades` gave, where the caller has it. meanwhile: what the caller's thread does while the others draw
    entries for the permutation.
    """
    with warehouse.connect():
        stored = warehouse.frame("SELECT strategy, mode, fold, params FROM wf_folds ORDER BY strategy, mode, fold")
        selected = set(warehouse.frame("SELECT symbol FROM universe WHERE selected")["symbol"])
    folds = folds_of(settings, market.panel)
    first, last = folds[0].test_start, folds[-1].test_end
    asked = _traded(stored, settings, folds)
    # Without a grid both modes trade the same: what is drawn of one is drawn of the other, and not twice.
    alike = {key: next(one for one, of in asked.items() if one[0] == key[0] and of == plan) for key, plan in asked.items()}
    plans = {key: asked[key] for key in dict.fromkeys(alike.values())}
    grids = {
        strategy.name: grid_sets(strategy, canonical_params(settings, strategy), grid_of(settings, strategy))
        for strategy in studied(settings).values()
    }
    readable = market.readable()
    signals = _signals(market, readable, settings, plans.values(), grids)
    rehearsals = {key: robustness.Rehearsal(market, plan, found=signals) for key, plan in plans.items()}
    bent = _bent(market, settings, rehearsals, signals)
    evidence: Evidence = {key: dict(bent[alike[key]]) for key in asked}
    for name, sets in grids.items():
        fitted = _fitted(market.panel, robustness.whole_span(market, signals[name], sets, first, last), first, last)
        for key in (key for key in asked if key[0] == name):
            evidence[key].update(fitted)
    for key in (key for key in asked if key[0] == BOOK):
        evidence[key].update(_worst_pbo({name: evidence[name, key[1]] for name in settings.portfolio.strategies}))
    earned = {key: evidence[key]["lag_cost"][str(market.lag)]["sharpe"] for key in plans}
    trades = read_trades(warehouse, settings) if trades is None else trades
    luck = luck_evidence(warehouse, settings, trades, rehearsals, earned, readable, meanwhile)
    for owner, found in (luck | {key: luck[alike[key]] for key in asked}).items():
        evidence.setdefault(owner, {}).update(found)
    doubted = suspects(market.panel)
    evidence["universe", "benchmark"] = _held(market.panel, settings, selected, doubted, first, last)
    evidence["data", ""] = _of_the_bars(warehouse, market.panel, settings, doubted)
    return evidence


def _of_the_bars(warehouse: Warehouse, panel: Panel, settings: Settings, doubted: Suspects) -> dict[str, Any]:
    """What the page says of the bars: quarantines in force, results of the checks, the doctor's rows, dividends paid."""
    checks = warehouse.frame("SELECT name, severity, passed, count, description FROM check_results ORDER BY asset, name")
    return {
        "quarantine": _quarantine(panel, settings, doubted),
        "checks": checks.to_dict(orient="records"),
        "doctor": doctor_rows(warehouse),
        "dividends": int(np.count_nonzero(panel.rows[:, ROW_DIVIDEND])),
    }


def _traded(stored: pd.DataFrame, settings: Settings, folds: tuple[Fold, ...]) -> dict[Key, robustness.Plan]:
    """(strategy, mode) → what it traded, the book of several strategies last. stored: as the table wf_folds."""
    plans = {
        (strategy.name, str(mode)): robustness.Plan(strategy, folds, tuple(json.loads(text) for text in part["params"]))
        for strategy in studied(settings).values()
        for mode, part in stored[stored["strategy"] == strategy.name].groupby("mode")
    }
    if settings.portfolio.book == BOOK:
        parts = parts_of(settings)
        for mode, part in stored[stored["strategy"] == BOOK].groupby("mode"):
            plans[BOOK, str(mode)] = _book_plan(parts, folds, [json.loads(text) for text in part["params"]])
    return plans


def _bent(
    market: Market, settings: Settings, rehearsals: Mapping[Key, robustness.Rehearsal], signals: Mapping[str, Found]
) -> Evidence:
    """Key → what comes of a plan at other costs, at the other lag, in training, and, of a book, without each strategy.

    rehearsals: on this market. signals: strategy → its signals there.
    """
    other_lag = replace(market, lag=0 if market.lag else 1)
    plans = [rehearsal.plan for rehearsal in rehearsals.values()]
    at_other_lag = _signals(other_lag, other_lag.readable(), settings, plans, {})

    def bend(key: Key) -> dict[str, Any]:
        rehearsal = rehearsals[key]
        steps = robustness.cost_sensitivity(rehearsal)
        unlagged = robustness.Rehearsal(other_lag, rehearsal.plan, found=at_other_lag).out_of_sample()
        return {
            "cost_sensitivity": steps,
            "break_even_bps": robustness.break_even_bps(rehearsal, steps),
            "lag_cost": {
                str(market.lag): {"sharpe": _known(sharpe(rehearsal.out_of_sample()))},
                str(other_lag.lag): {"sharpe": _known(sharpe(unlagged))},
            },
            "trained_annual": _annual(rehearsal.in_training()),
            **({"portfolio": without_each(market, rehearsal.plan, signals)} if key[0] == BOOK else {}),
        }

    # Whole plans side by side keep the cores busier than the parts of one plan after another.
    return dict(zip(rehearsals, in_threads(bend, rehearsals), strict=True))


def _fitted(panel: Panel, returns: Floats, first: int, last: int) -> dict[str, Any]:
    """The curve of a strategy's best parameter set, chosen in hindsight, and how probably the best is luck.

    returns: (sessions, sets), of every set over the sessions `first` … `last`.
    """
    hindsight = np.cumprod(1.0 + returns[:, _best(returns)])
    pbo = _pbo(returns)
    return {"in_sample": _by_day(panel, first, last, hindsight), **({"pbo": pbo} if pbo else {})}


def _worst_pbo(of_strategies: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The PBO of a book: its parameters are those of its strategies, fitted as much as the worst of them.

    `without` names the strategies of which it could not be measured.
    """
    own = [evidence["pbo"] for evidence in of_strategies.values() if "pbo" in evidence]
    without = [name for name, evidence in of_strategies.items() if "pbo" not in evidence]
    return {"pbo": {**max(own, key=lambda found: float(found["pbo"])), "without": without}} if own else {}


def _held(
    panel: Panel, settings: Settings, selected: Collection[str], doubted: Suspects, first: int, last: int
) -> dict[str, Any]:
    """The curves of holding the selected stocks, and the benchmark of the settings where the bars have it."""
    distrusted = distrusted_moves(panel, doubted, settings.universe.release)

    def curve(symbols: Collection[str]) -> list[list[Any]]:
        places = [k for k, symbol in enumerate(panel.symbols) if symbol in symbols]
        return _by_day(panel, 0, last, robustness.buy_and_hold(panel, max(first - 1, 0), last, places, distrusted))

    chosen = settings.report.benchmark
    return {"buy_and_hold": curve(selected), **({"chosen": curve({chosen})} if chosen in panel.symbols else {})}


def _by_day(panel: Panel, first: int, last: int, levels: Iterable[float]) -> list[list[Any]]:
    days = panel.sessions[first : last + 1]
    return [[str(day), float(level)] for day, level in zip(days, levels, strict=True)]


@kept_process_state()
def _signals(
    market: Market,
    readable: Readable,
    settings: Settings,
    plans: Collection[robustness.Plan],
    grids: Mapping[str, Sequence[Params]],
) -> dict[str, Found]:
    """Strategy → its signals at every parameter set of the plans and of its grid: looked for once for all that asks."""
    known = strategies_of(settings)
    sets = {name: list(grids.get(name, ())) for name in known}
    for plan in plans:
        for strategy, params in plan.parts:
            sets[strategy.name] += params
    wanted = {name: own for name, own in sets.items() if own}
    found = in_threads(lambda name: find_signals(market, readable, known[name], wanted[name]), wanted)
    return dict(zip(wanted, found, strict=True))


def compute_kpis(
    warehouse: Warehouse, trades: pd.DataFrame, settings: Settings, evidence: Evidence
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables `kpis` and `kpi_reasons`: every figure of every strategy and mode, and why a missing one is missing.

    trades: as `read_trades` gives them.
    """
    with warehouse.connect():
        equity = warehouse.frame("SELECT * FROM wf_equity ORDER BY strategy, mode, fold, session")
        folds = warehouse.frame("SELECT strategy, mode, fold, params FROM wf_folds")
        exposure = warehouse.frame(read_sql(HERE, "fold_exposure"))
        trials = tries_on_record(warehouse, settings)
    distance = trades["signal_atr"] * stop_multiples(trades, folds, settings.strategy.atr_stop)
    trades = trades.assign(stop_distance=distance)
    rows, reasons = [], []
    curves = list(equity.groupby(["strategy", "mode"]))
    # Thousands of resamples a curve: on all cores.
    intervals = in_threads(lambda named: overfitting.sharpe_interval(_returns(named[1])), curves)
    for ((strategy, mode), curve), interval in zip(curves, intervals, strict=True):
        mine = trades[(trades["strategy"] == strategy) & (trades["mode"] == mode)]
        spent = exposure[(exposure["strategy"] == strategy) & (exposure["mode"] == mode)]
        figures = _figures(curve, interval, mine, spent, trials, evidence[(str(strategy), str(mode))], settings)
        for name, value in figures.items():
            rows.append((strategy, mode, name, value))
            if value is None:
                reasons.append((strategy, mode, name, why_null(name, figures, mine)))
    return (
        pd.DataFrame(rows, columns=["strategy", "mode", "figure", "value"]).astype({"value": float}),
        pd.DataFrame(reasons, columns=["strategy", "mode", "figure", "reason"]).astype(str),
    )


def why_null(name: str, figures: Mapping[str, float | None], trades: pd.DataFrame) -> str:
    """Why `name`, one of `figures`, has no value. trades: the book's, with `stop_distance`."""
    # Without a trade there is no losing one, and without a Sharpe ratio none above zero; but that is not the reason.
    if name == "profit_factor" and trades.empty:
        return WHY["win_rate"]
    if name == "sqn" and len(trades) > 1 and not (trades["stop_distance"] > 0).any():
        return NO_STOP
    if name == "min_trl_years" and figures["sharpe"] is None:
        return WHY["psr"]
    return WHY[name]


def _book_plan(parts: Sequence[Part], folds: tuple[Fold, ...], params: list[dict[str, float]]) -> robustness.Plan:
    """What the book of several strategies traded. params: by fold, named `strategy.parameter`."""

    def of(name: str) -> tuple[dict[str, float], ...]:
        ahead = f"{name}."
        return tuple({k.removeprefix(ahead): v for k, v in own.items() if k.startswith(ahead)} for own in params)

    plans = [(part.strategy, of(part.strategy.name)) for part in parts]
    weights = tuple(part.weight for part in parts)
    return robustness.Plan(plans[0][0], folds, plans[0][1], tuple(plans[1:]), weights)


def _figures(
    curve: pd.DataFrame,
    interval: tuple[float, float] | None,
    trades: pd.DataFrame,
    exposure: pd.DataFrame,
    trials: Tries,
    evidence: dict[str, Any],
    settings: Settings,
) -> dict[str, float | None]:
    returns = _returns(curve)
    cash = settings.simulation.initial_cash
    chained = cash * np.cumprod(1.0 + returns)
    pnl = trades["pnl"].to_numpy(float)
    basic: dict[str, float | None] = {
        **curve_figures(returns),
        **trade_figures(pnl),
        "exposure": float(np.average(exposure["exposure"], weights=exposure["sessions"])) if len(exposure) else None,
        "net_pnl": float(chained[-1] - cash) if len(chained) else 0.0,
    }
    shape = overfitting.moments(returns)
    years = None
    if shape is not None:
        needed = overfitting.min_track_record_length(shape.sharpe, shape.skew, shape.kurtosis)
        years = None if needed is None else needed / YEAR
    variance = trials.variance
    risk = _initial_risk(trades)
    sized = risk > 0
    traded = float(((trades["entry_price"] + trades["exit_price"]) * trades["shares"]).sum())
    return {
        **{name: basic[name] for name in FIGURES},
        "trades": float(len(trades)),
        "avg_holding": float(trades["bars_held"].mean()) if len(trades) else None,
        "sharpe_lo": interval[0] if interval else None,
        "sharpe_hi": interval[1] if interval else None,
        "psr": overfitting.psr(shape.sharpe, shape.n, shape.skew, shape.kurtosis) if shape else None,
        "dsr": overfitting.deflated_sharpe(shape.sharpe, shape.n, shape.skew, shape.kurtosis, len(trials.sharpe), variance)
        if shape and variance is not None
        else None,
        "dsr_trials": float(len(trials.sharpe)),
        "min_trl_years": years,
        "pbo": evidence["pbo"]["pbo"] if "pbo" in evidence else None,
        "wfe": overfitting.walk_forward_efficiency(_annual(returns), evidence["trained_annual"]),
        "break_even_bps": evidence["break_even_bps"],
        "sqn": overfitting.sqn(pnl[sized], risk[sized]) if sized.sum() > 1 else None,
        # Every window trades from the same cash: its dollars are held against its own equity.
        "turnover": overfitting.turnover(traded, curve["equity"].to_numpy(float)),
        "permutation_p": evidence["permutation"]["p"] if "permutation" in evidence else None,
    }


def _returns(curve: pd.DataFrame) -> Floats:
    return chain_returns(curve["daily_return"].to_numpy(float))


def _initial_risk(trades: pd.DataFrame) -> Floats:
    """(trades) dollars between fill and stop."""
    entry, shares = trades["entry_price"].to_numpy(float), trades["shares"].to_numpy(float)
    long, factor = (trades["side"] == "long").to_numpy(), trades["qty"].to_numpy(float) / shares
    risk: Floats = np.abs(entry - initial_stops(entry, long, factor, trades["stop_distance"].to_numpy(float))) * shares
    return risk


def _pbo(returns: Floats) -> dict[str, Any] | None:
    found = overfitting.probability_of_overfitting(returns)
    if found is None:
        return None
    counts, edges = np.histogram(found.logits, bins=HISTOGRAM_BINS)
    return {
        "pbo": found.pbo,
        "trials": int(returns.shape[1]),
        "blocks": overfitting.PBO_BLOCKS,
        "logits_hist": {"edges": [float(e) for e in edges], "counts": [int(c) for c in counts]},
    }


def _quarantine(panel: Panel, settings: Settings, found: Suspects) -> list[dict[str, Any]]:
    return [
        {
            "symbol": panel.symbols[panel.symbol[bar]],
            "session": str(panel.sessions[panel.session[bar]]),
            "ratio": float(panel.close[bar] / panel.close[bar - 1]),
            "released": settings.universe.release.get(panel.symbols[panel.symbol[bar]]),
        }
        for bar in found.bar
    ]


def _best(returns: Floats) -> int:
    sharpes = np.array([sharpe(column) for column in returns.T])
    return 0 if np.isnan(sharpes).all() else int(np.nanargmax(sharpes))


def _annual(returns: Floats) -> float | None:
    return curve_figures(returns)["cagr"]


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
