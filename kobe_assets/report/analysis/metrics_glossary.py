"""The figures the page knows: name, unit, meaning, formula and source. One registry feeds table and glossary.

A figure that the registry does not know is shown under its own name as a plain number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

DASH = "–"


@dataclass(frozen=True)
class Figure:
    """One figure: `unit` is one of the keys of `FORMATS`; `group` is its heading in the figures table."""

    name: str
    label: str
    unit: str
    group: str
    meaning: str
    formula: str
    source: str


RULES = "Kobe rules, section 6"
BLP12 = "Bailey & López de Prado (2012), The Sharpe Ratio Efficient Frontier, J. of Risk 15(2)"
BLP14 = "Bailey & López de Prado (2014), The Deflated Sharpe Ratio, J. of Portfolio Management 40(5)"
BBLZ17 = (
    "Bailey, Borwein, López de Prado & Zhu (2017), The Probability of Backtest Overfitting, J. of Computational Finance 20(4)"
)
PR94 = "Politis & Romano (1994), The Stationary Bootstrap, J. of the American Statistical Association 89(428)"
PS10 = "Phipson & Smyth (2010), Permutation P-values Should Never Be Zero, Stat. Applications in Genetics 9(1)"
PARDO = "Pardo (2008), The Evaluation and Optimization of Trading Strategies, 2nd ed."
THARP = "Tharp (2008), Definitive Guide to Position Sizing"

RETURN, RISK, TRADES, LUCK, COST = "Return", "Risk", "Trades", "Luck", "Cost"

_ALL = (
    Figure(
        "net_pnl",
        "Net profit",
        "money",
        RETURN,
        "What was won or lost after costs, each test window going on where the last ended.",
        "chained equity at the end − initial cash",
        RULES,
    ),
    Figure(
        "cagr",
        "Growth a year",
        "percent",
        RETURN,
        "The steady yearly growth that leads to the same end (CAGR).",
        "(end / start)^(252 / n) − 1",
        RULES,
    ),
    Figure(
        "sharpe",
        "Sharpe ratio",
        "ratio",
        RETURN,
        "Average daily return for each unit of daily swing, scaled to a year. 0 earns nothing, 1 is good, 2 is rare.",
        "mean(r) / std(r) × √252",
        "Sharpe (1994), The Sharpe Ratio, J. of Portfolio Management 21(1)",
    ),
    Figure(
        "sortino",
        "Sortino ratio",
        "ratio",
        RETURN,
        "Like Sharpe, but only losing days count as swing.",
        "mean(r) / √mean(min(r, 0)²) × √252",
        "Sortino & Price (1994), J. of Investing 3(3)",
    ),
    Figure(
        "calmar",
        "Calmar ratio",
        "ratio",
        RETURN,
        "Growth a year for each unit of worst fall.",
        "CAGR / −maximum drawdown",
        "Young (1991), Calmar Ratio: A Smoother Tool, Futures 20(1)",
    ),
    Figure("volatility", "Volatility", "percent", RISK, "How much the account swings in a year.", "std(r) × √252", RULES),
    Figure(
        "max_drawdown",
        "Worst fall",
        "percent",
        RISK,
        "The deepest fall from a peak of the account (maximum drawdown).",
        "min(equity / running peak − 1)",
        RULES,
    ),
    Figure(
        "exposure",
        "Money at work",
        "percent",
        RISK,
        "Share of the account that was in the market on an average day.",
        "mean(Σ|shares × close| / equity)",
        RULES,
    ),
    Figure(
        "turnover",
        "Turnover a year",
        "times",
        RISK,
        "How many times a year the account is bought and sold over.",
        "Σ|traded dollars| / (2 × mean equity of the windows, each from its initial cash) × 252 / n",
        "Kobe; the usual definition of funds",
    ),
    Figure("trades", "Trades", "count", TRADES, "Round trips, entry to exit.", "count", RULES),
    Figure(
        "win_rate",
        "Winning trades",
        "percent",
        TRADES,
        "Share of trades that made money after costs.",
        "trades with profit / trades",
        RULES,
    ),
    Figure(
        "profit_factor",
        "Profit factor",
        "ratio",
        TRADES,
        "Dollars won for each dollar lost. Above 1 makes money.",
        "Σ profits / −Σ losses",
        RULES,
    ),
    Figure("expectancy", "Profit a trade", "cents", TRADES, "What an average trade leaves after costs.", "mean(profit)", RULES),
    Figure(
        "sqn",
        "System quality",
        "ratio",
        TRADES,
        "How steady the trades are, in units of the risk taken (SQN).",
        "√N × mean(R) / std(R), R = profit / initial risk",
        THARP,
    ),
    Figure("avg_holding", "Bars held", "number", TRADES, "Sessions an average trade lasts.", "mean(bars held)", RULES),
    Figure(
        "sharpe_lo",
        "Sharpe, low end",
        "ratio",
        LUCK,
        "Low end of the range that holds the true Sharpe ratio 95 times in 100.",
        "2.5 % quantile of the stationary bootstrap",
        PR94,
    ),
    Figure(
        "sharpe_hi",
        "Sharpe, high end",
        "ratio",
        LUCK,
        "High end of that range.",
        "97.5 % quantile of the stationary bootstrap",
        PR94,
    ),
    Figure(
        "psr",
        "P(Sharpe > 0)",
        "probability",
        LUCK,
        "Probability that the true Sharpe ratio is above zero, given length, skew and fat tails (PSR).",
        "Φ[(SR − SR*)·√(n−1) / √(1 − γ₃·SR + (γ₄−1)/4·SR²)]",
        BLP12,
    ),
    Figure(
        "dsr",
        "Deflated Sharpe",
        "probability",
        LUCK,
        "The same, against the best Sharpe ratio that luck alone would have found in as many tries (DSR).",
        "PSR(SR₀), SR₀ = √V·[(1−γ)·Φ⁻¹(1−1/N) + γ·Φ⁻¹(1−1/(N·e))]; V never falls by further tries",
        BLP14,
    ),
    Figure(
        "dsr_trials",
        "Tries counted",
        "count",
        LUCK,
        "Parameter sets that walk-forwards, sweeps and backtests with --set ever tried on this warehouse, whatever cash, "
        "sizing, costs and policy: each is a ticket in the lottery.",
        "count of distinct recorded trials",
        BLP14,
    ),
    Figure(
        "min_trl_years",
        "Years needed",
        "years",
        LUCK,
        "Shortest history in which this Sharpe ratio would be believable at 95 % (MinTRL).",
        "1 + (1 − γ₃·SR + (γ₄−1)/4·SR²)·(z₀.₉₅ / (SR − SR*))², in years",
        BLP12,
    ),
    Figure(
        "pbo",
        "Overfitting probability",
        "probability",
        LUCK,
        "How often the parameter set that was best in one half of history was not above the middle in the other (PBO); of a "
        "portfolio, the worst of its strategies'.",
        "share of ln(ω / (1−ω)) ≤ 0 over all halvings of 16 blocks (CSCV)",
        BBLZ17,
    ),
    Figure(
        "permutation_p",
        "Entry permutation",
        "probability",
        LUCK,
        "How often as many entries a session, drawn from all stocks that could have been traded, did at least as well "
        "with the same exits, sizing and costs (p-value).",
        "(1 + drawn runs with a Sharpe ratio at least as high) / (1 + drawn runs)",
        PS10,
    ),
    Figure(
        "wfe",
        "Walk-forward efficiency",
        "percent",
        LUCK,
        "How much of the return seen in training was left on unseen sessions.",
        "annual out-of-sample return / annual in-sample return",
        PARDO,
    ),
    Figure(
        "break_even_bps",
        "Break-even cost",
        "bps",
        COST,
        "Cost a fill at which the Sharpe ratio becomes zero.",
        "slippage with out-of-sample Sharpe = 0",
        "Kobe",
    ),
)
FIGURES = {figure.name: figure for figure in _ALL}
FOLD_FIGURES = (
    "sharpe", "sortino", "cagr", "volatility", "max_drawdown", "calmar",
    "win_rate", "profit_factor", "expectancy", "exposure", "net_pnl",
)  # fmt: skip
"""The figures that wf_folds carries for a test window, in the order of rules section 6."""


_RUN = (
    Figure("final_equity", "Final equity", "money", RETURN, "What the account was worth at the last close.", "", ""),
    Figure(
        "longest_underwater",
        "Longest time under water",
        "sessions",
        RISK,
        "From a peak of the account until it was reached again, or to the end.",
        "",
        "",
    ),
    Figure(
        "value_at_risk", "Value at risk", "percent", RISK, "One session in twenty lost this much or more (VaR, 95 %).", "", ""
    ),
    Figure("expected_shortfall", "Expected shortfall", "percent", RISK, "The mean of those sessions (CVaR, 95 %).", "", ""),
    Figure(
        "beta",
        "Beta to holding",
        "ratio",
        RISK,
        "What the account moves where holding the same stocks moves by one, in daily returns.",
        "",
        "",
    ),
    Figure(
        "correlation",
        "Correlation with holding",
        "ratio",
        RISK,
        "How alike the daily returns are: 1 the same way, 0 unlike, −1 the other way.",
        "",
        "",
    ),
    Figure("average_win", "Average win", "money", TRADES, "Of the trades that made money, after costs.", "", ""),
    Figure("average_loss", "Average loss", "money", TRADES, "Of all others, after costs.", "", ""),
    Figure("longest_losing_run", "Longest losing run", "trades", TRADES, "Trades in a row without a profit, by exit.", "", ""),
)
RUN_FIGURES = {figure.name: figure for figure in _RUN}
"""What `kobe backtest` tells of one run beside `FOLD_FIGURES`."""


def known(names: Iterable[str]) -> list[Figure]:
    """The figures of `names`: those of the registry in its order, then strangers by name."""
    wanted = set(names)
    strangers = [Figure(name, name, "number", "Other", "", "", "") for name in sorted(wanted - FIGURES.keys())]
    return [figure for figure in _ALL if figure.name in wanted] + strangers


def show(value: float | None, unit: str) -> str:
    """`value` as a person reads it; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return DASH
    text = FORMATS[unit](value)
    # No minus before a zero.
    return text.replace("-", "−" if any(digit in text for digit in "123456789") else "")


def show_difference(more: float, less: float, unit: str) -> str:
    """`more` − `less` as a person reads it who has both shown: of the digits that are seen, where these tell them apart."""
    seen = _as_seen(more, unit) - _as_seen(less, unit)
    # Numbers that look alike still differ: by what is not seen.
    return show_amount(seen if abs(seen) > 1e-12 else more - less, unit)


def show_amount(value: float, unit: str) -> str:
    """`value`, 0 or more, as a person reads it: of one that would read as 0, what it is below."""
    text = show(value, unit)
    is_seen = value == 0 or not math.isfinite(value) or any(digit in text for digit in "123456789")
    return text if is_seen else "<" + re.sub(r"0(?=\D*$)", "1", text)


def _as_seen(value: float, unit: str) -> float:
    text = show(value, unit)
    if text == DASH or text[0] in "<>":
        return value
    number = float("".join(character for character in text if character.isdigit() or character == "."))
    return math.copysign(number / 100.0 if unit == "percent" else number, value)


def show_range(low: float | None, high: float | None, unit: str) -> str:
    """`low` to `high` as a person reads them; one dash where there is neither."""
    return DASH if low is None and high is None else f"{show(low, unit)} to {show(high, unit)}"


def minus(text: str) -> str:
    """The text with the sign − before negative numbers, as `show` writes it; hyphens of words, dates and ids stay."""
    return re.sub(r"(?<![\w.,)\]-])-(?=\$?\d)", "−", text)


def show_bar(value: float, unit: str) -> str:
    """A threshold as a person reads it: `show` without zeros that say nothing."""
    return re.sub(r"(\.\d*?)0+(?=\D|$)", lambda found: found[1].rstrip("."), show(value, unit))


def _signed_money(value: float, digits: int) -> str:
    text = f"{abs(value):,.{digits}f}"
    negative = value < 0 and float(text.replace(",", "")) != 0
    return f"{'-' if negative else ''}${text}"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"


def _percent(value: float) -> str:
    share = value * 100.0
    if abs(share) >= 1000:
        return f"{share:,.0f} %"
    away = abs(100.0 - abs(share))
    small = away if away < 0.05 else abs(share)
    if small >= 1 or small < 1e-12:
        return f"{share:.1f} %"
    # Two digits that count, however near to nothing or to all, and never an exponent.
    digits = min(12, 1 - math.floor(math.log10(small)))
    return f"{share:.{digits}f} %"


FORMATS: dict[str, Callable[[float], str]] = {
    "ratio": _ratio,
    "number": lambda v: f"{v:,.1f}" if abs(v) >= 1 else f"{v:.3g}",
    "percent": _percent,
    "probability": lambda v: f"{v:.3f}" if 0.001 <= v <= 0.999 or v in (0.0, 1.0) else ("<0.001" if v < 0.5 else ">0.999"),
    "money": lambda v: _signed_money(v, 0 if abs(v) >= 100 else 2),
    "cents": lambda v: _signed_money(v, 2),
    "change": lambda v: f"{v * 100:+.2f} %",
    "gain": lambda v: ("+" if round(v, 2) > 0 else "") + _signed_money(v, 2),
    "bps": lambda v: f"{v:.1f} bps",
    "years": lambda v: f"{v:,.1f} years",
    "times": lambda v: f"{v:.1f}×",
    "count": lambda v: f"{v:,.0f}",
    "sessions": lambda v: f"{v:,.0f} session{'' if v == 1 else 's'}",
    "trades": lambda v: f"{v:,.0f} trade{'' if v == 1 else 's'}",
}
