"""The gates between a backtest and money: every threshold, its reason and its source stand in this file and nowhere else.

Three questions, answered by gates that pass, fail, or could not be measured; what could not be measured has not passed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kobe_assets.report.analysis import metrics_glossary
from kobe_assets.report.analysis.flow import participation
from kobe_assets.report.analysis.metrics_glossary import show, show_bar
from kobe_assets.report.analysis.remedies import distance, remedy
from kobe_assets.report.analysis.results import Curve, StrategyResult, on_sessions, returns_of, sharpe
from kobe_resources.settings.models import Settings

State = Literal["pass", "fail", "unknown"]

MIN_SHARPE_LOW_END = 0.0
MIN_DSR = 0.95
MAX_PBO = 0.5
MIN_TRADES = 100
MAX_TOP_FIVE_SHARE = 0.5
MIN_COST_MULTIPLE = 2.0
MAX_PERMUTATION_P = 0.05
MAX_PARTICIPATION = 0.01
TOP_TRADES = 5
BOUNDS = {"under ": "more than ", "over ": "at most "}
"""What is said of the distance to a bar, by what is said of a number that is only known to lie under or over another."""
PARTICIPATION_QUANTILE = 0.95


@dataclass(frozen=True)
class Context:
    """What a gate may look at beside the book. benchmark: buy-and-hold of the universe.

    doubted: "symbol on day" of the bars that look wrong and that trades of any book lay over, the worst first.
    """

    settings: Settings
    benchmark: Curve | None
    doubted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """A gate's number, the one it is held against, and its verdict; `why` says why there is no number."""

    value: float | None
    threshold: float | None
    passed: bool = False
    why: str = ""
    prefix: str = ""


@dataclass(frozen=True)
class Gate:
    """One test. question: key of `QUESTIONS`. sign: how value and threshold compare (≥, ≤, >).
    bar: the threshold in words; meaning: why it stands there; blame: what a failure says, for a sentence.
    """

    name: str
    question: str
    label: str
    unit: str
    sign: str
    bar: str
    meaning: str
    blame: str
    source: str
    measure: Callable[[StrategyResult, Context], Measured]


@dataclass(frozen=True)
class Result:
    """A gate's outcome in words: `value` and `needs` are ready to read.

    number, bar: what was compared, None where it was not measured. Of a gate that failed: how far the number is from the bar,
    above 0 and in words, and `change`, what would have to change.
    """

    gate: Gate
    state: State
    value: str
    needs: str
    why: str
    number: float | None = None
    bar: float | None = None
    distance: float | None = None
    short: str = ""
    change: str = ""


QUESTIONS = {
    "money": "Does it clear its costs with room, and beat holding?",
    "luck": "Is it more than luck?",
    "trade": "Can it be traded in this size?",
}


def judge(book: StrategyResult, context: Context) -> list[Result]:
    """Every gate's outcome for a book, in the order of `GATES`."""
    return [_result(gate, book, gate.measure(book, context)) for gate in GATES]


def benchmark_sharpe(book: StrategyResult, benchmark: Curve | None) -> float | None:
    """Sharpe ratio of buy-and-hold over exactly the book's out-of-sample sessions."""
    if benchmark is None or book.curve.empty:
        return None
    return sharpe(returns_of(on_sessions(benchmark, book.curve["session"].to_numpy())))


def top_share(book: StrategyResult) -> float | None:
    """Share of the net profit that the `TOP_TRADES` best trades made; None where there is no net profit."""
    pnl = np.sort(book.trades["pnl"].to_numpy(float))[::-1]
    total = float(pnl.sum())
    return float(pnl[:TOP_TRADES].sum()) / total if len(pnl) and total > 0 else None


def _result(gate: Gate, book: StrategyResult, measured: Measured) -> Result:
    value, bar = measured.value, measured.threshold
    needs = f"{gate.sign} {show_bar(bar, gate.unit)}" if bar is not None else metrics_glossary.DASH
    if value is None or bar is None:
        return Result(gate, "unknown", "not measured", needs, measured.why, bar=bar)
    shown = measured.prefix + show(value, gate.unit)
    if measured.passed:
        return Result(gate, "pass", shown, needs, measured.why, value, bar)
    far, short = distance(value, bar, gate.sign, gate.unit)
    short = BOUNDS.get(measured.prefix, "") + short
    return Result(gate, "fail", shown, needs, measured.why, value, bar, far, short, remedy(gate.name, book, value, bar))


def _at_least(value: float | None, threshold: float, why: str) -> Measured:
    return Measured(value, threshold, value is not None and value >= threshold, why if value is None else "")


def _at_most(value: float | None, threshold: float, why: str) -> Measured:
    return Measured(value, threshold, value is not None and value <= threshold, why if value is None else "")


def _above(value: float | None, threshold: float, why: str) -> Measured:
    return Measured(value, threshold, value is not None and value > threshold, why if value is None else "")


def _profit(book: StrategyResult, _: Context) -> Measured:
    return _above(book.figure("net_pnl"), 0.0, book.why_null("net_pnl"))


def _beats_holding(book: StrategyResult, context: Context) -> Measured:
    holding = benchmark_sharpe(book, context.benchmark)
    if holding is None:
        return Measured(None, None, why="no buy-and-hold curve of the universe for these sessions")
    return _at_least(book.figure("sharpe"), holding, book.why_null("sharpe"))


def _sound_bars(_: StrategyResult, context: Context) -> Measured:
    if not context.doubted:
        return Measured(0.0, 0.0, True)
    bars = "a bar that looks" if len(context.doubted) == 1 else f"{len(context.doubted):,} bars that look"
    why = f"trades lay over {bars} wrong ({context.doubted[0]}): mend or release, see `kobe bars doctor`"
    return Measured(None, 0.0, why=why)


def _survives_costs(book: StrategyResult, context: Context) -> Measured:
    needed = MIN_COST_MULTIPLE * context.settings.costs.slippage_bps
    value = book.figure("break_even_bps")
    if value is not None:
        return _at_least(value, needed, "")
    # Without a zero crossing the tried costs still tell: profitable at the dearest of them is "more than that".
    points = [point for point in book.evidence.get("cost_sensitivity") or [] if point.get("sharpe") is not None]
    if points and all(point["sharpe"] > 0 for point in points):
        dearest = max(float(point["bps"]) for point in points)
        return Measured(dearest, needed, dearest >= needed, prefix="over ")
    if points and all(point["sharpe"] <= 0 for point in points):
        cheapest = min(float(point["bps"]) for point in points)
        return Measured(cheapest, needed, False, prefix="under ")
    return Measured(None, needed, why=book.why_null("break_even_bps"))


def _low_end(book: StrategyResult, _: Context) -> Measured:
    return _above(book.figure("sharpe_lo"), MIN_SHARPE_LOW_END, book.why_null("sharpe_lo"))


def _deflated(book: StrategyResult, _: Context) -> Measured:
    return _at_least(book.figure("dsr"), MIN_DSR, book.why_null("dsr"))


def _overfit(book: StrategyResult, _: Context) -> Measured:
    found, own = _at_most(book.figure("pbo"), MAX_PBO, book.why_null("pbo")), book.evidence.get("pbo") or {}
    if not found.passed or not own.get("without"):
        return found
    # What passes for a part of a portfolio has not passed for all of it.
    why = f"a part was not measured, without two parameter sets that differ: {', '.join(own['without'])}"
    return Measured(None, MAX_PBO, why=why)


def _permutation(book: StrategyResult, _: Context) -> Measured:
    return _at_most(book.figure("permutation_p"), MAX_PERMUTATION_P, book.why_null("permutation_p"))


def _long_enough(book: StrategyResult, _: Context) -> Measured:
    needed = book.figure("min_trl_years")
    if needed is None:
        return Measured(None, None, why=book.why_null("min_trl_years"))
    return _at_least(book.years, needed, "")


def _enough_trades(book: StrategyResult, _: Context) -> Measured:
    return _at_least(float(len(book.trades)), MIN_TRADES, "")


def _not_a_few_trades(book: StrategyResult, _: Context) -> Measured:
    return _at_most(top_share(book), MAX_TOP_FIVE_SHARE, "there is no net profit to share out")


def _liquid(book: StrategyResult, _: Context) -> Measured:
    shares = participation(book)
    value = float(np.quantile(shares, PARTICIPATION_QUANTILE)) if len(shares) else None
    return _at_most(value, MAX_PARTICIPATION, "no trade with a known dollar volume")


HOUSE = "house rule"
GATES = (
    Gate(
        "profit",
        "money",
        "Net profit",
        "money",
        ">",
        "above $0",
        "What is left on unseen sessions after slippage and fees.",
        "it lost money after costs",
        HOUSE,
        _profit,
    ),
    Gate(
        "beats_holding",
        "money",
        "Sharpe, against holding",
        "ratio",
        "≥",
        "at least that of buy and hold",
        "Trading must pay more for its swings than buying the same stocks in equal parts at the start and holding them.",
        "just holding the same stocks paid better for its risk",
        "Sharpe (1994)",
        _beats_holding,
    ),
    Gate(
        "survives_costs",
        "money",
        "Break-even cost a fill",
        "bps",
        "≥",
        f"at least {MIN_COST_MULTIPLE:g} × the assumed slippage",
        "Real fills are worse than assumed ones: twice the assumed slippage must still not lose.",
        "costs twice as high as assumed would eat the profit",
        HOUSE,
        _survives_costs,
    ),
    Gate(
        "low_end",
        "luck",
        "Low end of the Sharpe range",
        "ratio",
        ">",
        f"above {MIN_SHARPE_LOW_END:g}",
        "Reshuffled histories of the same kind must still make money in all but the worst 2.5 %.",
        "luck explains the result as well as skill does",
        metrics_glossary.PR94,
        _low_end,
    ),
    Gate(
        "deflated",
        "luck",
        "Deflated Sharpe",
        "probability",
        "≥",
        f"at least {MIN_DSR:g}",
        "Confidence that the result beats the best of as many lucky tries; 95 % is the usual bar.",
        "as many lucky tries would have found something as good",
        metrics_glossary.BLP14,
        _deflated,
    ),
    Gate(
        "overfit",
        "luck",
        "Overfitting probability",
        "probability",
        "≤",
        f"at most {MAX_PBO:g}",
        "Parameters chosen by their past must do no worse than the toss of a coin.",
        "its parameters were fitted to the past",
        metrics_glossary.BBLZ17,
        _overfit,
    ),
    Gate(
        "permutation",
        "luck",
        "Drawn entries that did as well",
        "probability",
        "≤",
        f"a p-value of at most {MAX_PERMUTATION_P:g}",
        "As many entries a session, drawn from all stocks that could have been traded, must hardly ever do as well.",
        "entries drawn at random did as well",
        metrics_glossary.PS10,
        _permutation,
    ),
    Gate(
        "long_enough",
        "luck",
        "Years tested",
        "years",
        "≥",
        "at least the years needed (MinTRL)",
        "The history must be as long as this Sharpe ratio needs to be believable at 95 %.",
        "the history is too short to tell skill from luck",
        metrics_glossary.BLP12,
        _long_enough,
    ),
    Gate(
        "enough_trades",
        "luck",
        "Trades",
        "count",
        "≥",
        f"at least {MIN_TRADES}",
        "Fewer trades than this say little about the next one.",
        "it traded too rarely to tell skill from luck",
        metrics_glossary.THARP,
        _enough_trades,
    ),
    Gate(
        "not_a_few",
        "luck",
        "Share of the five best trades",
        "percent",
        "≤",
        f"at most {100 * MAX_TOP_FIVE_SHARE:.0f} %",
        "A result that hangs on five trades is an anecdote.",
        "a handful of trades made the profit",
        HOUSE,
        _not_a_few_trades,
    ),
    Gate(
        "sound_bars",
        "luck",
        "Bars in doubt traded over",
        "count",
        "≤",
        "none, by any book",
        "What was earned or lost over a bar that looks wrong is unknown, and so is how much luck the other tries had.",
        "trades lay over bars that look wrong",
        HOUSE,
        _sound_bars,
    ),
    Gate(
        "liquid",
        "trade",
        "Order in a day's volume",
        "percent",
        "≤",
        f"at most {100 * MAX_PARTICIPATION:.0f} % for {100 * PARTICIPATION_QUANTILE:.0f} % of orders",
        "95 of 100 orders must be small beside what changes hands in the stock on a normal day, or they move the price.",
        "its orders are too big for these stocks",
        "Almgren et al. (2005), Direct Estimation of Equity Market Impact, Risk 18(7)",
        _liquid,
    ),
)
