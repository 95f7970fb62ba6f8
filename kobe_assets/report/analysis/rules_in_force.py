"""The rules that a book traded by, in sentences with the values in force: entry, exit, stop, size, order, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kobe_assets.graph.own_strategies import strategies_of
from kobe_assets.report.analysis.cautions import as_sentence
from kobe_assets.report.analysis.conditions import NAMES, Words, in_words
from kobe_assets.report.analysis.folds import parameter_path
from kobe_assets.report.analysis.metrics_glossary import show
from kobe_assets.report.analysis.results import StrategyResult
from kobe_assets.research.strategies import Strategy
from kobe_resources.settings.models import BOOK, Settings

Rules = list[tuple[str, str]]


def rules_in_force(book: StrategyResult, settings: Settings) -> Rules:
    """(heading, sentence) of every rule; empty for a book that no declaration is known of."""
    parts = list(settings.portfolio.strategies) if book.strategy == BOOK else [book.strategy]
    known = strategies_of(settings)
    if not all(name in known for name in parts):
        return []
    said: Rules = []
    for name in parts:
        params = _params(book, name)
        said += [
            (f"{name}: {head}" if len(parts) > 1 else head, text)
            for head, text in _strategy_rules(known[name], params, settings)
        ]
    limits = [_has_limit(known[name], _params(book, name)) for name in parts]
    if len(parts) > 1:
        said.append(("In turn", f"First the best signal of each ({', '.join(parts)}), then each one's second, and so on."))
    weights = settings.portfolio.strategies if book.strategy == BOOK else {}
    size, order = _size(settings, weights), _order(settings, limits)
    return [*said, ("Size", size), ("Order", order), ("Costs", _costs(settings)), *_chosen(book)]


def _params(book: StrategyResult, name: str) -> dict[str, float | Words]:
    """Parameter → its value, or its name where the value changes from one test window to the next."""
    ahead = f"{name}." if book.strategy == BOOK else ""
    found: dict[str, float | Words] = {}
    for key, values in parameter_path(book).items():
        known = [value for value in values if value is not None]
        if key.startswith(ahead) and known:
            short = key.removeprefix(ahead)
            found[short] = known[0] if len(set(known)) == 1 else Words(short)
    return found


def _strategy_rules(strategy: Strategy, params: Mapping[str, float | Words], settings: Settings) -> Rules:
    """The sentences that come from one declaration."""
    lag = settings.strategy.indicator_lag_bars
    late = {0: "", 1: "; indicators are read one bar late"}.get(lag, f"; indicators are read {lag} bars late")
    long, short = (_condition(getattr(strategy, side), params) for side in ("long", "short"))
    if long is None and short is None:
        return [("Entry", f"{strategy.summary}{late}.")]
    when = f"{'in the next session' if _has_limit(strategy, params) else 'at the next open'} after a close with"
    entries = [f"buys {when} {long}"] if long else []
    if short and settings.policy.allow_shorts:
        entries.append(f"sells short {'after' if long else when} {short}")
    elif short:
        entries.append("short sales are switched off")
    entry = f"{'; '.join(entries)}{late}; a close under {_dollars(settings.strategy.min_price)} gives no signal"
    out = _exits(strategy, params, settings)
    rules = [("Entry", as_sentence(entry)), *_limit(strategy, params), ("Exit", as_sentence(out))]
    own = [f"{key} is {indicator}" for key, indicator in strategy.indicators.items() if key not in NAMES]
    if own:
        rules.append(("Where", f"{', '.join(own)}."))
    scored = strategy.score_long if long else strategy.score_short
    score = in_words(getattr(scored, "declared", scored)) if scored else None
    return [
        *rules,
        ("Stop", as_sentence(_stop(strategy, params))),
        *([("Strongest first", f"Smallest {score}.")] if score else []),
    ]


def _condition(condition: Any, params: Mapping[str, float | Words]) -> str | None:
    """The condition in words. What guards a declaration against errors asks for arrays; beneath it lies the declaration."""
    return None if condition is None else in_words(getattr(condition, "declared", condition), params)


def _exits(strategy: Strategy, params: Mapping[str, float | Words], settings: Settings) -> str:
    ways = []
    leave = _condition(strategy.leave_long, params)
    when = "at the open after a close with"
    if leave and strategy.long:
        ways.append(f"{when} {leave}")
    mirrored = _condition(strategy.leave_short, params) if settings.policy.allow_shorts else None
    if mirrored and strategy.short:
        ways.append(f"{'for a short ' if strategy.long else ''}{'with' if ways else when} {mirrored}")
    if "time_stop" in params:
        ways.append(f"at the open after {_value(params['time_stop'])} bars at the latest")
    return ", ".join(ways) or "only at the end of a test window"


def _stop(strategy: Strategy, params: Mapping[str, float | Words]) -> str:
    if "atr_stop" not in params or strategy.stop is None:
        return "none"
    return (
        f"it lies {_value(params['atr_stop'])} × {NAMES.get(strategy.stop, strategy.stop)} from the fill, from the first bar on"
    )


def _has_limit(strategy: Strategy, params: Mapping[str, float | Words]) -> bool:
    return "limit_atr" in params and strategy.limit is not None


def _limit(strategy: Strategy, params: Mapping[str, float | Words]) -> Rules:
    if not _has_limit(strategy, params):
        return []
    level = strategy.limit or ""
    far = f"{_value(params['limit_atr'])} × {NAMES.get(level, level)}"
    if strategy.long is None:
        where = f"it sells short {far} above"
    else:
        where = f"{'it buys' if strategy.short is None else 'it buys, or sells short above,'} {far} below"
    return [("Limit", as_sentence(f"{where} the signal's close or not at all, for one session"))]


def _size(settings: Settings, weights: Mapping[str, float]) -> str:
    """weights: strategy → what its orders' size is multiplied with."""
    sizing, policy = settings.sizing, settings.policy
    pieces = "whole shares" if sizing.whole_shares else "fractions of shares allowed"
    aim = {
        "fixed": f"{_dollars(sizing.order_notional)} an order",
        "equity": f"{show(sizing.fraction, 'percent')} of the account an order",
        "risk": f"{show(sizing.fraction, 'percent')} of the account at risk down to the stop",
    }[sizing.mode]
    limits = [
        f"at most {text}"
        for value, text in (
            (policy.max_notional_per_order, f"{_dollars(policy.max_notional_per_order)} an order"),
            (policy.max_order_fraction, f"{_share(policy.max_order_fraction)} of the account an order"),
            (policy.max_daily_notional, f"{_dollars(policy.max_daily_notional)} of entries a session"),
            (policy.max_daily_fraction, f"{_share(policy.max_daily_fraction)} of the account in entries of a session"),
            (policy.max_positions, f"{policy.max_positions} positions"),
            (policy.max_gross_exposure, f"{_share(policy.max_gross_exposure)} of the account in the market"),
        )
        if value is not None
    ]
    weighed = [f"{name} × {weight:g}" for name, weight in weights.items()] if set(weights.values()) - {1.0} else []
    return as_sentence(", ".join([aim, *weighed, pieces, *limits]))


def _order(settings: Settings, limits: Sequence[bool]) -> str:
    """limits: of each strategy, whether it buys at a limit of its own."""
    if all(limits):
        return "A limit order for one session, at the price above."
    usual = _usual_order(settings)
    return f"{usual} Where a limit is named above: a limit order for one session, at that price." if any(limits) else usual


def _usual_order(settings: Settings) -> str:
    execution = settings.execution
    if execution.entry == "opg":
        return f"In the opening auction, with a limit {execution.open_limit_bps:g} bps beyond the signal's close."
    return f"Immediate or cancel after the open, with a limit {execution.limit_offset_bps:g} bps beyond the quote."


def _costs(settings: Settings) -> str:
    costs = settings.costs
    parts = [f"{show(costs.slippage_bps, 'bps')} of slippage a fill"]
    commission = [
        f"{_dollars(value)} {what}"
        for value, what in ((costs.commission_per_order, "a fill"), (costs.commission_per_share, "a share"))
        if value
    ]
    if commission:
        least = f", at least {_dollars(costs.commission_minimum)} a fill" if costs.commission_minimum else ""
        parts.append("a commission of " + " and ".join(commission) + least)
    parts += ["SEC and FINRA fees on sales"] if costs.regulatory_fees else []
    parts += [f"{show(costs.borrow_rate, 'percent')} a year for shorts"] if costs.borrow_rate else []
    return as_sentence(", ".join(parts))


def _chosen(book: StrategyResult) -> Rules:
    """Which values training chose among, where it chose."""
    varying = {name: sorted({v for v in values if v is not None}) for name, values in parameter_path(book).items()}
    said = ", ".join(f"{name} {' or '.join(f'{v:g}' for v in values)}" for name, values in varying.items() if len(values) > 1)
    return [("Chosen in training", f"For each test window anew: {said}.")] if said else []


def _value(value: float | Words) -> str:
    return value.text if isinstance(value, Words) else f"{value:g}"


def _share(value: float | None) -> str:
    return show(value, "percent")


def _dollars(value: float | None) -> str:
    if value is None:
        return "–"
    return f"${value:,.2f}".removesuffix(".00") if value == round(value, 2) else f"${value:g}"
