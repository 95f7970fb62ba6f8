"""A book is one strategy in one mode: its folds, chained curve, trades in units of risk, figures and evidence.

Built from `ReportInputs`; whatever a table lacks is empty here, and everything downstream copes with empty.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kobe_assets.graph.frames import stop_multiples
from kobe_assets.report.analysis.inputs import DATA, UNIVERSE, ReportInputs
from kobe_assets.report.analysis.trade_spans import sorted_trades
from kobe_assets.research import metrics as figures
from kobe_assets.research.metrics import YEAR
from kobe_assets.research.panel import Floats
from kobe_assets.research.risk import initial_stops
from kobe_resources.settings.models import BOOK

if TYPE_CHECKING:
    import pandas as pd


MODE_WORDS = {"canonical": "fixed parameters", "optimized": "chosen in training"}
"""The modes of wf_folds in words that need no glossary."""


def mode_words(mode: str) -> str:
    """A mode as the page calls it."""
    return MODE_WORDS.get(mode, mode)


@dataclass(frozen=True)
class StrategyResult:
    """One strategy in one mode.

    folds: wf_folds with `params` and `refused` as dicts. curve: session, fold, daily_return, growth (of 1), drawdown (≤ 0),
    the test windows chained. trades: sorted as `sorted_trades`, their row number kept in the index, plus stop, risk (dollars),
    r (pnl / risk), mae_r, mfe_r, notional (dollars) and day_share (of the symbol's median dollar volume that year).
    holdings: fold, session, positions, invested. figures: kpis, None where null; reasons: why null.
    """

    strategy: str
    mode: str
    folds: pd.DataFrame
    curve: pd.DataFrame
    trades: pd.DataFrame
    figures: Mapping[str, float | None]
    reasons: Mapping[str, str]
    evidence: Mapping[str, Any]
    holdings: pd.DataFrame

    @property
    def key(self) -> str:
        """The book's name on the page and in links."""
        return f"{self.strategy}|{self.mode}"

    @property
    def title(self) -> str:
        """The book's name in a sentence."""
        return f"{self.strategy} · {mode_words(self.mode)}"

    @property
    def years(self) -> float:
        """Length of the out-of-sample chain."""
        return len(self.curve) / YEAR

    def figure(self, name: str) -> float | None:
        """A figure of `kpis`, None where it is null or missing."""
        return self.figures.get(name)

    def why_null(self, name: str) -> str:
        """Why a figure has no value, in words."""
        return self.reasons.get(name) or ("not measured in this run" if name not in self.figures else "no value was recorded")


@dataclass(frozen=True)
class Curve:
    """A curve of growth (of 1) over sessions (datetime64[D])."""

    sessions: np.ndarray[Any, np.dtype[np.datetime64]]
    growth: Floats

    def __len__(self) -> int:
        return len(self.sessions)


def books_of(inputs: ReportInputs) -> list[StrategyResult]:
    """Every book that any table knows, by strategy and mode; the combined one first, since it is what trades."""
    trades = with_risk(sorted_trades(inputs.trades), inputs)
    owners = [inputs.folds, inputs.equity, inputs.kpis, trades]
    keys = {key for frame in owners for key in _pairs(frame)} - {UNIVERSE, DATA}
    return [_book(inputs, trades, strategy, mode) for strategy, mode in sorted(keys, key=lambda key: (key[0] != BOOK, key))]


def books_with_figures(books: Sequence[StrategyResult], inputs: ReportInputs) -> list[StrategyResult]:
    """The books with figures and evidence of inputs that else are those that they were made of."""
    return [replace(book, **_figures(inputs, book.strategy, book.mode)) for book in books]


def default_book(books: Sequence[StrategyResult], inputs: ReportInputs) -> StrategyResult | None:
    """The book the page opens with: what the trading job would trade, else the first."""
    for book in books:
        if (book.strategy, book.mode) == (inputs.settings.portfolio.book, "canonical"):
            return book
    return books[0] if books else None


def evidence_curve(evidence: Mapping[str, Any], name: str) -> Curve | None:
    """A curve kept as [[session, growth], …]; points without a finite growth are dropped, None where nothing is left."""
    points = evidence.get(name)
    if not isinstance(points, list):
        return None
    kept = sorted((str(day)[:10], float(level)) for day, level in points if level is not None and math.isfinite(level))
    if not kept:
        return None
    return Curve(np.array([day for day, _ in kept], dtype="datetime64[D]"), np.array([level for _, level in kept]))


def chosen_benchmark_of(inputs: ReportInputs) -> Curve | None:
    """Growth of the one symbol that report.benchmark names, held over the same sessions, dividends reinvested."""
    return evidence_curve(inputs.evidence.get(UNIVERSE, {}), "chosen") if inputs.settings.report.benchmark else None


def benchmark_of(inputs: ReportInputs) -> Curve | None:
    """Growth of the selected symbols, bought in equal parts at the close before the first test session, and held."""
    return evidence_curve(inputs.evidence.get(UNIVERSE, {}), "buy_and_hold")


def on_sessions(curve: Curve, sessions: Any) -> Floats:
    """The curve's growth at each session, rebased to 1 at the close before the first; NaN where it has no earlier value."""
    days = np.asarray(sessions, dtype="datetime64[D]")
    if not len(days):
        return np.empty(0)
    at = np.searchsorted(curve.sessions, days, side="right") - 1
    growth = np.where(at >= 0, curve.growth[np.maximum(at, 0)], np.nan)
    before = int(np.searchsorted(curve.sessions, days[0], side="left")) - 1
    known = growth[np.isfinite(growth)]
    base = curve.growth[before] if before >= 0 else (known[0] if len(known) else np.nan)
    return np.asarray(growth / base)


def returns_of(growth: Floats) -> Floats:
    """Daily returns of a growth curve that started from 1."""
    if not len(growth):
        return growth
    return np.asarray(growth / np.concatenate(([1.0], growth[:-1])) - 1.0)


def matched_returns(book: StrategyResult, benchmark: Curve | None) -> Floats | None:
    """Buy-and-hold's daily returns with as much money at work as the book had on average; None where either is unknown.

    What an idle account cannot be blamed for: it makes the two comparable in dollars, and leaves the Sharpe ratio as it is.
    """
    exposure = book.figure("exposure")
    if benchmark is None or exposure is None or book.curve.empty:
        return None
    return returns_of(on_sessions(benchmark, book.curve["session"].to_numpy())) * exposure


def sharpe(returns: Floats) -> float | None:
    """Annual Sharpe ratio of daily returns (rules, section 6); None where it is undefined."""
    return as_number(figures.sharpe(returns))


def with_risk(trades: pd.DataFrame, inputs: ReportInputs) -> pd.DataFrame:
    """The trades with their stop, the dollars at risk between fill and stop, and results in units of that risk.

    The stop is rounded as the rules do (section 4.2): on the tick of the price as traded, away from the market.
    """
    multiple = stop_multiples(trades, inputs.folds, inputs.settings.strategy.atr_stop)
    qty, shares = trades["qty"].to_numpy(float), trades["shares"].to_numpy(float)
    entry = trades["entry_price"].to_numpy(float)
    long = (trades["side"] == "long").to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = qty / shares
    stop = initial_stops(entry, long, factor, multiple * trades["signal_atr"].to_numpy(float))
    risk = np.abs(entry - stop) * shares
    risk[~(risk > 0)] = np.nan
    return trades.assign(
        stop=stop,
        risk=risk,
        r=trades["pnl"].to_numpy(float) / risk,
        mae_r=trades["mae"].to_numpy(float) * entry * shares / risk,
        mfe_r=trades["mfe"].to_numpy(float) * entry * shares / risk,
        notional=entry * shares,
        day_share=entry * shares / _usual_volume(trades, inputs.dollar_volume),
    )


def _usual_volume(trades: pd.DataFrame, dollar_volume: pd.DataFrame) -> Floats:
    """The median dollars a day of each trade's symbol in the year of its entry; NaN where unknown or zero."""
    import pandas as pd

    usual = pd.MultiIndex.from_arrays([dollar_volume["symbol"], dollar_volume["year"].astype("int64")])
    wanted = pd.MultiIndex.from_arrays([trades["symbol"], pd.to_datetime(trades["entry_session"]).dt.year.astype("int64")])
    at = usual.get_indexer(wanted)
    dollars = np.append(dollar_volume["median_usd"].to_numpy(float), np.nan)[at]
    return np.where(dollars > 0, dollars, np.nan)


def parse_object(value: Any) -> dict[str, Any]:
    """A JSON object given as text or dict; anything else is empty."""
    parsed = json.loads(value) if isinstance(value, str) and value else value
    return parsed if isinstance(parsed, dict) else {}


def _book(inputs: ReportInputs, trades: pd.DataFrame, strategy: str, mode: str) -> StrategyResult:
    folds = _of(inputs.folds, strategy, mode).sort_values("fold", kind="stable").reset_index(drop=True)
    folds = folds.assign(params=[parse_object(v) for v in folds["params"]], refused=[parse_object(v) for v in folds["refused"]])
    return StrategyResult(
        strategy=strategy,
        mode=mode,
        folds=folds,
        curve=_chain(_of(inputs.equity, strategy, mode)),
        trades=_of(trades, strategy, mode),
        holdings=_of(inputs.holdings, strategy, mode),
        **_figures(inputs, strategy, mode),
    )


def _figures(inputs: ReportInputs, strategy: str, mode: str) -> dict[str, Any]:
    kpis, reasons = _of(inputs.kpis, strategy, mode), _of(inputs.kpi_reasons, strategy, mode)
    return {
        "figures": {name: as_number(value) for name, value in zip(kpis["figure"], kpis["value"], strict=True)},
        "reasons": dict(zip(reasons["figure"], reasons["reason"], strict=True)),
        "evidence": inputs.evidence.get((strategy, mode), {}),
    }


def _chain(equity: pd.DataFrame) -> pd.DataFrame:
    chain = equity.sort_values(["fold", "session"], kind="stable").reset_index(drop=True)
    chain = chain.assign(daily_return=figures.chain_returns(chain["daily_return"].to_numpy(float)))
    growth = (1.0 + chain["daily_return"]).cumprod()
    peak = growth.cummax().clip(lower=1.0)
    return chain.assign(growth=growth, drawdown=growth / peak - 1.0)


def as_number(value: Any) -> float | None:
    """A finite float, else None."""
    if value is None:
        return None
    number = float(value)
    return number if np.isfinite(number) else None


def _of(frame: pd.DataFrame, strategy: str, mode: str) -> pd.DataFrame:
    return frame[(frame["strategy"] == strategy) & (frame["mode"] == mode)]


def _pairs(frame: pd.DataFrame) -> set[tuple[str, str]]:
    return set(frame[["strategy", "mode"]].drop_duplicates().itertuples(index=False, name=None))
