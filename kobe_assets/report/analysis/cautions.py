"""What makes the figures worth less than they look, one line each: for the terminal, for `--json` and for the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from kobe_assets.report.analysis.cut_trades import most_lost_at_zero
from kobe_assets.report.analysis.flow import MEANING, MONEY_REASONS, refusals
from kobe_assets.report.analysis.inputs import UNIVERSE
from kobe_assets.report.analysis.metrics_glossary import show
from kobe_assets.report.analysis.results import StrategyResult
from kobe_resources.settings.models import Settings

SYNTHETIC = "these bars are invented (data.vendor is synthetic): whatever the figures say, they prove nothing about markets"
NO_BENCHMARK = "report.benchmark names {}, of which no bars are stored: load its bars, or set it to none"
ENDED_AFTER = pd.Timedelta(days=31)
MOST = 0.5
"""Share of refused signals above which an account trades a leftover of its strategy."""
AS_WANTED = ("already_open", "shorts_disabled")
"""Refusals that are no loss: the stock is held already, or the settings want no shorts."""
LIMITS = {
    "exceeds_order_budget": ("max_notional_per_order", "max_order_fraction"),
    "too_many_positions": ("max_positions",),
    "exceeds_daily_budget": ("max_daily_notional", "max_daily_fraction"),
    "exceeds_exposure": ("max_gross_exposure",),
}
"""Reason of refusal → the limits of [policy] that can be behind it."""


@dataclass(frozen=True)
class Caution:
    """A warning. name: `synthetic_bars`, `refused_signals`, `no_trade`, `ended_listings`, `no_benchmark`, or a check's."""

    name: str
    text: str


def ended_companies(universe: pd.DataFrame) -> int:
    """Candidates whose bars stop over a month before the last bar of all: without any, those that failed are missing."""
    last = pd.to_datetime(universe["last_session"])
    return int((last.max() - last > ENDED_AFTER).sum()) if len(universe) else 0


def is_synthetic(settings: Settings) -> bool:
    """Whether the bars are invented, so that no verdict on them says anything about markets."""
    return settings.data.vendor == "synthetic"


def remedy_for(reason: str, settings: Settings) -> str:
    """The settings in force that would have to change for a reason of refusal; empty where none would help."""
    size = "sizing.order_notional" if settings.sizing.mode == "fixed" else "sizing.fraction"
    limits = [name for name in LIMITS.get(reason, ()) if getattr(settings.policy, name) is not None]
    if limits:
        return f"raise {' and '.join(f'policy.{name}' for name in limits)}, or lower {size}"
    return {
        "no_stop": "give the strategy a stop, or set sizing.mode to fixed or equity",
        "no_bar": "see `kobe universe show` for stocks that hardly trade",
        "price_out_of_bounds": "see policy.min_price and policy.max_price",
        "below_one_share": f"raise {size} and the limits of an order in [policy], or set sizing.whole_shares = false",
        "insufficient_cash": f"raise simulation.initial_cash, or lower {size}",
    }.get(reason, "")


def cautions_of(
    settings: Settings, books: Sequence[StrategyResult], evidence: Mapping[tuple[str, str], Mapping[str, Any]] | None = None
) -> list[Caution]:
    """What is to be said of the bars and of all books together, beside the checks. evidence: as the report reads it."""
    found = [Caution("synthetic_bars", SYNTHETIC)] if is_synthetic(settings) else []
    refused = most_refused(books, settings)
    if refused:
        found.append(Caution("refused_signals", refused))
    found += [Caution("no_trade", text) for text in all_refused(books, settings)]
    ended = most_lost_at_zero(books)
    if ended:
        found.append(Caution("ended_listings", ended))
    if evidence is not None and settings.report.benchmark and "chosen" not in evidence.get(UNIVERSE, {}):
        found.append(Caution("no_benchmark", NO_BENCHMARK.format(settings.report.benchmark)))
    return found


def most_refused(books: Iterable[StrategyResult], settings: Settings) -> str:
    """The largest reason of refusal and its remedy where most signals were refused that were free to trade; else empty.

    Where most of what only money could stop was stopped, the result is that of the strongest signals: what portfolios do, and
    no reason against a strategy, but another budget trades others.
    """
    total: dict[str, int] = {}
    traded = 0
    for book in books:
        traded += len(book.trades)
        for reason, count in refusals(book).items():
            total[reason] = total.get(reason, 0) + count
    stopped = {reason: count for reason, count in total.items() if reason not in AS_WANTED}
    lost = sum(stopped.values())
    if lost <= MOST * (traded + lost):
        return ""
    reason = max(stopped, key=lambda name: (stopped[name], name))
    whole, largest = (show(count / (traded + lost), "percent") for count in (lost, stopped[reason]))
    said = f"{whole} of the signals that were free to trade were refused, {largest} as {reason} ({MEANING.get(reason, reason)})"
    remedy = remedy_for(reason, settings)
    said = f"{said}; {remedy}" if remedy else said
    for_money = sum(stopped.get(name, 0) for name in MONEY_REASONS)
    return f"{said}; the strongest were traded first, so another budget trades others" if for_money > traded else said


def all_refused(books: Iterable[StrategyResult], settings: Settings) -> list[str]:
    """A sentence for each strategy that made no trade because every signal was refused, with the largest reason's remedy."""
    sentences = {}
    for book in books:
        refused = refusals(book)
        if len(book.trades) == 0 and refused:
            reason = max(refused, key=lambda name: (refused[name], name))
            remedy = remedy_for(reason, settings)
            why = f"{reason} ({MEANING.get(reason, reason)})" + (f"; {remedy}" if remedy else "")
            sentences[book.strategy] = f"{book.strategy} made no trade: every signal was refused, most as {why}"
    return list(sentences.values())


def as_sentence(text: str) -> str:
    """`text` with a capital and a full stop."""
    return f"{text[0].upper()}{text[1:]}."
