"""What would have to change for a gate that failed to pass, one sentence each, with the book's own numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

from kobe_assets.report.analysis.flow import capacity
from kobe_assets.report.analysis.metrics_glossary import show, show_amount, show_difference
from kobe_assets.report.analysis.results import StrategyResult
from kobe_assets.research.metrics import YEAR
from kobe_assets.research.overfitting import NORMAL, moments

Remedy = Callable[[StrategyResult, float, float], str]
"""(book, the gate's number, its bar) → the sentence."""
STEPS = 60
FARTHEST_SHARPE = 20.0
"""A year: beyond it no bar is looked for."""
ROUNDING = 1e-9
FIVE = 5
"""The best trades whose share the gate `not_a_few` judges."""


def remedy(gate: str, book: StrategyResult, value: float, bar: float) -> str:
    """The sentence for the gate of that name; empty for one that is not known here."""
    known = REMEDIES.get(gate)
    return known(book, value, bar) if known else ""


def sharpe_to_pass(book: StrategyResult, confidence: float) -> float | None:
    """The annual Sharpe ratio at which the book's deflated one would reach `confidence`, its days shaped as they are.

    None where it cannot be computed, or is beyond reach.
    """
    shape, deflated = moments(book.curve["daily_return"].to_numpy(float)), book.figure("dsr")
    if shape is None or deflated is None or not 0.0 < deflated < 1.0:
        return None

    def error(ratio: float) -> float:
        return math.sqrt(1.0 - shape.skew * ratio + (shape.kurtosis - 1.0) / 4.0 * ratio**2) / math.sqrt(shape.n - 1)

    by_luck = shape.sharpe - NORMAL.inv_cdf(deflated) * error(shape.sharpe)
    wanted = NORMAL.inv_cdf(confidence)
    low, high = by_luck, FARTHEST_SHARPE / math.sqrt(YEAR)
    if not (high - by_luck) / error(high) >= wanted:
        return None
    for _ in range(STEPS):
        middle = (low + high) / 2.0
        low, high = (low, middle) if (middle - by_luck) / error(middle) >= wanted else (middle, high)
    return high * math.sqrt(YEAR)


def _profit(book: StrategyResult, _: float, bar: float) -> str:
    trades = len(book.trades)
    if not trades:
        return "It would have to trade."
    # Every window trades from the same cash: the chained profit is no sum of its trades.
    earned = float(book.trades["pnl"].sum())
    short = bar - earned
    if short <= 0:
        return f"Its trades earned {show(earned, 'money')} in windows of equal cash; chained, the losing windows weighed more."
    each = f"Each of its {trades:,} trades" if trades > 1 else "Its only trade"
    return f"{each} would have to earn {show_amount(short / trades, 'cents')} more after costs."


def _beats_holding(_: StrategyResult, value: float, bar: float) -> str:
    if value > 0 and bar > 0:
        less, more = (show(share, "percent") for share in (1 - value / bar, bar / value - 1))
        return f"The same profit with {less} less swing, or {more} more profit with as much."
    return f"A Sharpe ratio of {show(bar, 'ratio')}: more profit for its swings than holding the same stocks."


def _survives_costs(book: StrategyResult, value: float, bar: float) -> str:
    more = show_difference(bar, value, "bps")
    # Without a break-even cost the number is the cheapest tried, at which it loses, or the dearest, at which it gains.
    bound = "" if book.figure("break_even_bps") is not None else "more than " if value <= 0 else "up to "
    return f"A fill would have to earn {bound}{more} more: fewer trades with larger moves, or cheaper fills."


def _low_end(book: StrategyResult, value: float, bar: float) -> str:
    ratio = book.figure("sharpe")
    if ratio is None or not ratio > bar:
        return "Its Sharpe ratio would have to be above 0 first; then the longer the history, the narrower the range."
    years = book.years * ((ratio - value) / (ratio - bar)) ** 2
    return (
        f"A Sharpe ratio of {_instead('about ', ratio + bar - value, ratio, 'ratio')}, "
        f"or {_instead('some ', years, book.years, 'years')} of unseen sessions."
    )


def _deflated(book: StrategyResult, _: float, bar: float) -> str:
    tries, ratio, needed = book.figure("dsr_trials"), book.figure("sharpe"), sharpe_to_pass(book, bar)
    after = f" after {show(tries, 'count')} tries" if tries is not None else ""
    if needed is None or ratio is None:
        return f"A far higher Sharpe ratio{after}, or a longer history."
    return f"A Sharpe ratio of {_instead('about ', needed, ratio, 'ratio')}{after}, or a longer history."


def _overfit(_: StrategyResult, value: float, bar: float) -> str:
    # Down, so that what is not enough never reads as the bar.
    above = math.floor(1000 * (1 - value) + ROUNDING) / 10
    return (
        f"What was best in one half of history would have to be above the middle in the other in {100 * (1 - bar):.0f} % of "
        f"halvings, not {above:.1f} %: fewer parameters, or values farther apart."
    )


def _permutation(book: StrategyResult, value: float, bar: float) -> str:
    runs = int((book.evidence.get("permutation") or {}).get("permutations", 0))
    allowed, as_good = math.floor(bar * (runs + 1) + ROUNDING) - 1, round(value * (runs + 1)) - 1
    if allowed < 0:
        return f"{runs} drawn runs cannot show it: set report.permutations to {math.ceil(1 / bar) - 1} or more."
    return f"At most {allowed} of {runs} drawn runs may do as well, and {as_good} did: entries would have to beat chance."


def _long_enough(_: StrategyResult, value: float, bar: float) -> str:
    return f"{show_difference(bar, value, 'years')} more of unseen sessions at this Sharpe ratio, or a higher one."


def _enough_trades(_: StrategyResult, value: float, bar: float) -> str:
    more = show_difference(bar, value, "trades").replace(" ", " more ")
    return f"{more}: a longer history, more stocks, or a looser entry."


def _not_a_few(book: StrategyResult, value: float, _: float) -> str:
    profit = float(book.trades["pnl"].sum())
    if len(book.trades) <= FIVE:
        return "It would have to make more than five trades: beside these there are no others."
    return f"The other trades would have to earn more: without the five best, {show(profit * (1 - value), 'money')} is left."


def _liquid(book: StrategyResult, _: float, __: float) -> str:
    room = capacity(book)
    if room is None:
        return "Smaller orders, or stocks that trade more."
    return (
        f"Orders of {_instead('at most ', room['order_at_target'], room['order'], 'money')} "
        "([sizing]), or stocks that trade more (universe.min_adv_usd)."
    )


def _instead(about: str, wanted: float, own: float, unit: str) -> str:
    """What would be enough instead of what the book has; in words where the two read alike."""
    text, seen = show(wanted, unit), show(own, unit)
    return f"{about}{text} instead of {seen}" if text != seen else f"a little {'above' if wanted > own else 'below'} {seen}"


REMEDIES: dict[str, Remedy] = {
    "profit": _profit,
    "beats_holding": _beats_holding,
    "survives_costs": _survives_costs,
    "low_end": _low_end,
    "deflated": _deflated,
    "overfit": _overfit,
    "permutation": _permutation,
    "long_enough": _long_enough,
    "enough_trades": _enough_trades,
    "not_a_few": _not_a_few,
    "liquid": _liquid,
}


def distance(value: float, bar: float, sign: str, unit: str) -> tuple[float, str]:
    """How far a number is on the wrong side of its bar, as a number above 0 and in words."""
    more, less, way = (value, bar, "over") if sign == "≤" else (bar, value, "short")
    return more - less, f"{show_difference(more, less, unit)} {way}"
