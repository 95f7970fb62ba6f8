"""Entries: the signals of the session before, in their order, through the policy gate that the simulation also asks.

All of a session is decided in one transaction, so that budget and cash are judged on one picture; what was decided is kept
with everything it was decided on.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, Decimal
from typing import Any

from kobe_assets.research.strategies import Strategy
from kobe_jobs.trading.context import SessionContext, has_limit_entry
from kobe_jobs.trading.equity import standing_of
from kobe_jobs.trading.executor import resolve, send
from kobe_jobs.trading.market_snapshot import Signal
from kobe_jobs.trading.moments import RunMoment
from kobe_resources import policy_gate
from kobe_resources.broker.protocol import Quote, Side, TimeInForce
from kobe_resources.broker.quotes import NO_QUOTE, QuoteProblem, on_tick
from kobe_resources.order_ledger import LedgerOrder, OrderLedger, OrderPlan, OrderState, Write
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import held_symbols
from kobe_resources.order_ledger.sessions import last_reconciliation, noted_of
from kobe_resources.policy_gate import (
    ACCEPTED,
    AT_LIMIT,
    AT_OPENING_AUCTION,
    AT_QUOTE,
    REASONS,
    Proposal,
    Standing,
    decide_entry,
)

SHARE = Decimal("1e-9")
"""The broker's smallest part of a share."""
NOT_TRADABLE = "not_tradable"
AUCTION_OVER = "auction_over"
"""The reason of an entry for the opening auction that was not sent in time."""
SPLIT_AHEAD = "split_ahead"
"""The reason of an entry whose symbol splits at the open that it would be sent for on the evening before."""
YOURS_OTHER_SIDE = "yours_other_side"
"""The reason of an entry in a symbol of which a person holds shares of the other side: it would trade those."""
ENTRY_WORDS = {AT_QUOTE: book.QUOTE_ENTRY, AT_OPENING_AUCTION: book.AUCTION_ENTRY, AT_LIMIT: book.LIMIT_ENTRY}
NO_BAR = REASONS[policy_gate.NO_BAR]
"""What the gate calls a missing quote; on the live side it is `NO_QUOTE`, and the detail says which fault the quote has."""
Settle = Callable[[SessionContext], list[LedgerOrder]]


@dataclass(frozen=True, slots=True)
class Decision:
    """The gate's decision on one signal; `reason` is empty where the order may be sent."""

    order_plan: OrderPlan
    reason: str
    detail: str
    notional: float


def enter_signals(
    context: SessionContext, cash_now: Decimal, settle: Settle = resolve, is_safe: Callable[[], bool] = lambda: True
) -> list[LedgerOrder]:
    """Decide, send and resolve the session's entries; all of its entry orders. Raises what `executor.send` raises.

    cash_now: the account's cash after the exits. settle: waits for what was sent. is_safe: asked before more is sent beside
    what the first entries have bought.
    """
    plan_entries(context, cash_now)
    for number in range(2):
        if number and _not_placed(context) and not is_safe():
            break
        for order in _not_placed(context):
            with context.ledger.write() as write:
                book.retry(write, order.client_order_id)
        pending = [order for order in entries_of(context) if order.state is OrderState.PLANNED]
        if not pending:
            break
        for order in pending:
            send(context, order.client_order_id)
        for waiting in settle(context):
            context.note(f"order {waiting.client_order_id} of {waiting.symbol} is not settled yet ({waiting.state})")
    for order in entries_of(context):
        if order.state is OrderState.NOT_PLACED:
            context.note(f"the entry of {order.symbol} never reached the broker, in {order.posts} tries: it is let go")
    return entries_of(context)


def plan_entries(context: SessionContext, cash_now: Decimal) -> None:
    """Decide every signal of the session once; those decided but never sent are decided again on fresh quotes.

    So are those that a quote was missing for, as long as entries may go out. Before the open nothing is decided where one of
    the book's strategies waits for quotes: all are judged in one order, on one budget.
    """
    signals = context.snapshot.signals_of(context.signal_session)
    at_quote = [signal.symbol for signal in signals if _kind_of(context, signal) == AT_QUOTE]
    kinds = {_kind_of_part(context, part.strategy) for part in context.parts}
    if context.moment is RunMoment.BEFORE_OPEN and AT_QUOTE in kinds:
        return
    quotes, now = context.usable_quotes(at_quote, context.judge)
    _learn_assets(context, signals, quotes, now, cash_now)
    with context.ledger.write() as write:
        decisions = _decide_all(context, write, signals, quotes, now, cash_now)
        _withdraw(context, write, decisions)
        for decision in decisions:
            _write_down(context, write, decision)


def entries_of(context: SessionContext) -> list[LedgerOrder]:
    """The session's entry orders, in signal order."""
    found = [i for i in book.of_session(context.ledger, context.account, context.session) if i.purpose == book.ENTRY]
    return sorted(found, key=lambda order: order.rank)


def entries_without_quote(context: SessionContext) -> list[LedgerOrder]:
    """Entries refused for want of a quote, which a run within the entry window looks at again; none when it is over."""
    if context.broker.clock().timestamp >= context.last_entry:
        return []
    return [order for order in entries_of(context) if _wants_quote(order)]


def _wants_quote(order: LedgerOrder) -> bool:
    return order.state is OrderState.DENIED and order.reason == NO_QUOTE


def _decide_all(
    context: SessionContext,
    source: OrderLedger | Write,
    signals: tuple[Signal, ...],
    quotes: dict[str, Quote],
    now: dt.datetime,
    cash_now: Decimal,
) -> list[Decision]:
    """The gate over the signals in order; orders that went out already keep their place in the budget."""
    known = {i.client_order_id: i for i in book.of_session(source, context.account, context.session) if i.purpose == book.ENTRY}
    fixed = [i for i in known.values() if (i.state is not OrderState.PLANNED or i.posts) and not _wants_quote(i)]
    spent = float(sum((i.reserved + i.spent for i in fixed), Decimal(0)))
    cash = float(cash_now + sum((_paid(i) for i in fixed), Decimal(0)))
    held = held_symbols(source, context.account, context.session) | {
        i.symbol for i in fixed if i.state is not OrderState.DENIED
    }
    theirs = noted_of(last_reconciliation(context.ledger, context.account, agreeing=True))["positions"]
    start = standing_of(context, source, cash)
    taken = sum(i.state is not OrderState.DENIED for i in fixed)
    decisions = []
    for rank, signal in enumerate(signals, start=1):
        quote = quotes.get(signal.symbol)
        account = start._replace(held=signal.symbol in held, positions=start.positions + taken, spent=spent)
        decision = _decide(context, signal, rank, quote, now, account)
        if not decision.reason and Decimal(theirs.get(signal.symbol, "0")) * (1 if signal.is_long else -1) < 0:
            decision = replace(decision, reason=YOURS_OTHER_SIDE, detail=f"{theirs[signal.symbol]} shares are yours")
        before = known.get(decision.order_plan.client_order_id)
        if before is not None and before in fixed:
            continue
        decisions.append(decision)
        if not decision.reason:
            spent += decision.notional
            held.add(signal.symbol)
            taken += 1
    return decisions


def _decide(
    context: SessionContext, signal: Signal, rank: int, quote: Quote | None, now: dt.datetime, account: Standing
) -> Decision:
    kind = _kind_of(context, signal)
    # Orders that wait for the market lean on the signal's close, and ask for no quote.
    problem = context.judge(quote, now) if kind == AT_QUOTE else None
    side: Side = "buy" if signal.is_long else "sell"
    met = 0.0 if quote is None or problem is not None else float(quote.ask if signal.is_long else quote.bid)
    factor = context.snapshot.factor(signal.symbol, context.session)
    distance = signal.stop_distance / factor
    part = context.part(signal.strategy)
    params, weight = context.params_of(part.strategy), part.weight
    order = Proposal(
        is_long=signal.is_long, kind=kind, has_price=problem is None, met=met, close=signal.close / factor,
        limit_distance=_limit_distance(part.strategy, params, signal) / factor, stop_distance=distance, weight=weight,
    )  # fmt: skip
    code, qty, limit, notional = decide_entry(context.limits, order, account)
    reason = "" if code == ACCEPTED else REASONS[code]
    if reason == NO_BAR and problem is not None:
        reason = NO_QUOTE
    detail = str(problem) if reason == NO_QUOTE else ""
    if not reason:
        reason = context.assets_allowed.get((signal.symbol, signal.is_long), "")
    shares = _shares(qty, context.limits.whole_shares)
    if not reason and not (math.isfinite(distance) and distance > 0 and shares > 0):
        reason = "not_finite"
    if not reason and kind == AT_OPENING_AUCTION and context.moment is not RunMoment.BEFORE_OPEN:
        reason = AUCTION_OVER
    if not reason and context.snapshot.splits_between(signal.symbol, context.splits_through, context.session):
        # Sent the evening before, the order would be one of old shares at a price of new ones.
        reason = SPLIT_AHEAD
    up = signal.is_long if kind != AT_LIMIT else not signal.is_long
    price = on_tick(limit, up=up) if limit > 0 and math.isfinite(limit) else Decimal(0)
    order_plan = OrderPlan(
        account=context.account, strategy=part.strategy.name, session=context.session, signal_session=signal.session,
        symbol=signal.symbol, side=side, tag=book.ENTRY, kind="limit", time_in_force=_time_in_force(context, kind),
        qty=shares, limit_price=price or None, stop_distance=Decimal(repr(distance)) if math.isfinite(distance) else None,
        reserved=shares * price, rank=rank,
        decision={
            **_inputs_of_decision(context, signal, quote, now, problem, account, factor),
            "entry": ENTRY_WORDS[kind], "weight": weight,
            "rules": {"params": params, "lag": context.settings.strategy.indicator_lag_bars},
        },
    )  # fmt: skip
    return Decision(order_plan, reason, detail, notional)


def _kind_of(context: SessionContext, signal: Signal) -> int:
    return _kind_of_part(context, context.part(signal.strategy).strategy)


def _kind_of_part(context: SessionContext, strategy: Strategy) -> int:
    """How a strategy's entries meet the market (rules, section 4.2)."""
    if has_limit_entry(strategy):
        return AT_LIMIT
    return AT_OPENING_AUCTION if context.settings.execution.entry == "opg" else AT_QUOTE


def _limit_distance(strategy: Strategy, params: dict[str, float], signal: Signal) -> float:
    """Adjusted dollars from the close to the limit of a strategy that enters by one; 0 for others."""
    return 0.0 if strategy.limit is None else params["limit_atr"] * signal.level(strategy.limit)


def _time_in_force(context: SessionContext, kind: int) -> TimeInForce:
    times: dict[int, TimeInForce] = {AT_LIMIT: "day", AT_OPENING_AUCTION: "opg"}
    return times.get(kind, context.settings.trading.time_in_force)


def _inputs_of_decision(
    context: SessionContext, signal: Signal, quote: Quote | None, now: dt.datetime, problem: QuoteProblem | None,
    account: Standing, factor: float,
) -> dict[str, Any]:  # fmt: skip
    """The inputs of a decision, as text and numbers that JSON can hold."""
    values = {
        name: getattr(signal, name)
        for name in ("score", "close", "raw_close", "stop_distance", "rsi2", "ibs", "sma200", "atr14")
    }
    return {
        "signal": {name: value if math.isfinite(value) else None for name, value in values.items()} | signal.values,
        "quote": None if quote is None else {"bid": str(quote.bid), "ask": str(quote.ask), "at": str(quote.timestamp)},
        "quote_veto": None if problem is None else str(problem),
        "decided_at": str(now), "spent_before": account.spent, "cash": account.cash, "equity": account.equity,
        "positions": account.positions, "gross": account.gross, "factor": factor, "limits": _finite(context.limits._asdict()),
    }  # fmt: skip


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """The values with None for infinity, because JSON has none; that is how an absent limit reads."""
    return {name: None if value == math.inf else value for name, value in values.items()}


def _withdraw(context: SessionContext, write: Write, decisions: list[Decision]) -> None:
    """Free the dollars of what is decided again, before anything takes them; deny what has no signal any more."""
    decided = {decision.order_plan.client_order_id for decision in decisions}
    for order in book.of_session(write, context.account, context.session):
        if order.purpose != book.ENTRY or order.state is not OrderState.PLANNED or order.posts:
            continue
        if order.client_order_id in decided:
            book.free_reservation(write, order)
        else:
            book.move(write, order, OrderState.DENIED, "vetoed", reason="signal_withdrawn", reserved="0")


def _write_down(context: SessionContext, write: Write, decision: Decision) -> None:
    known = book.find(write, decision.order_plan.client_order_id)
    reason = decision.reason
    if known is not None and _wants_quote(known):
        if (reason, decision.detail) == (known.reason, known.detail):
            return
        known = book.reconsider(write, known.client_order_id)
    if known is None and not reason and not context.sends:
        book.would_send(write, decision.order_plan)
    elif known is None and reason:
        book.deny(write, decision.order_plan, reason, decision.detail)
    elif known is None:
        book.plan(write, decision.order_plan, context.daily_budget)
    elif reason:
        book.move(write, known, OrderState.DENIED, "vetoed", reason=reason, detail=decision.detail, reserved="0")
    else:
        book.replan(write, decision.order_plan, context.daily_budget)


def _learn_assets(
    context: SessionContext, signals: tuple[Signal, ...], quotes: dict[str, Quote], now: dt.datetime, cash_now: Decimal
) -> None:
    """Ask the broker about the symbols that would be ordered; again after a refusal, because its dollars let others in."""
    while True:
        decisions = _decide_all(context, context.ledger, signals, quotes, now, cash_now)
        wanted = [
            (decision.order_plan.symbol, decision.order_plan.side == "buy") for decision in decisions if not decision.reason
        ]
        unknown = [want for want in wanted if want not in context.assets_allowed]
        if not unknown:
            return
        for symbol, is_long in unknown:
            context.assets_allowed[symbol, is_long] = _asset_denial(context, symbol, is_long)


def _asset_denial(context: SessionContext, symbol: str, is_long: bool) -> str:
    asset = context.broker.asset(symbol)
    if asset is None or asset.status != "active" or not asset.tradable:
        return NOT_TRADABLE
    if not is_long and not (asset.shortable and asset.easy_to_borrow):
        return "not_shortable" if not asset.shortable else "hard_to_borrow"
    if not context.limits.whole_shares and context.stage in ("paper", "live"):
        # Fractional orders can neither be IOC, nor short, nor have a protective stop at the real broker.
        return "fractional_not_protected"
    return ""


def _not_placed(context: SessionContext) -> list[LedgerOrder]:
    """Entries that did not reach the broker and may be sent again."""
    may_go = [i for i in entries_of(context) if i.state is OrderState.NOT_PLACED and i.posts < book.POSTS_AT_MOST]
    return [i for i in may_go if i.time_in_force != "opg" or context.moment is RunMoment.BEFORE_OPEN]


def _paid(order: LedgerOrder) -> Decimal:
    """Cash that this session's entry already moved: it was there when the others were decided."""
    paid = order.filled_qty * (order.filled_avg_price or Decimal(0))
    return paid if order.side == "buy" else -paid


def _shares(qty: float, whole: bool) -> Decimal:
    if not math.isfinite(qty):
        return Decimal(0)
    return Decimal(int(qty)) if whole else Decimal(repr(qty)).quantize(SHARE, rounding=ROUND_DOWN)
