"""Entries: the signals of the session before, in their order, through the policy gate that the simulation also asks.

All of a session is decided in one transaction, so that budget and cash are judged on one picture; what was decided is kept
with everything it was decided on.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Any

from kobe_jobs.trading.context import Desk
from kobe_jobs.trading.equity import standing_of
from kobe_jobs.trading.executor import resolve, send
from kobe_jobs.trading.market_snapshot import Signal
from kobe_resources import policy_gate
from kobe_resources.broker.protocol import Quote, Side
from kobe_resources.broker.quotes import NO_QUOTE, QuoteVeto, on_tick
from kobe_resources.order_ledger import Draft, Intent, OrderLedger, OrderState, Write
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import held_symbols
from kobe_resources.policy_gate import ACCEPTED, AT_QUOTE, REASONS, Proposal, Standing, decide_entry

SHARE = Decimal("1e-9")
"""The broker's smallest part of a share."""
POSTS_AT_MOST = 3
SHADOW = "shadow"
NO_BAR = REASONS[policy_gate.NO_BAR]
"""What the gate calls a missing quote; on the live side it is `NO_QUOTE`, and the detail says which fault the quote has."""
Settle = Callable[[Desk], list[Intent]]


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate said of one signal: `reason` empty where the order may go out."""

    draft: Draft
    reason: str
    detail: str
    notional: float


def enter_signals(
    desk: Desk, cash_now: Decimal, settle: Settle = resolve, is_safe: Callable[[], bool] = lambda: True
) -> list[Intent]:
    """Decide, send and resolve the session's entries; all of its entry intents. Raises what `executor.send` raises.

    cash_now: the account's cash after the exits. settle: waits for what was sent. is_safe: asked before more is sent beside
    what the first entries have bought.
    """
    plan_entries(desk, cash_now)
    for number in range(2):
        if number and _not_placed(desk) and not is_safe():
            break
        for intent in _not_placed(desk):
            with desk.ledger.write() as write:
                book.rearm(write, intent.client_order_id)
        pending = [intent for intent in entries_of(desk) if intent.state is OrderState.INTENT]
        if not pending:
            break
        for intent in pending:
            send(desk, intent.client_order_id)
        for waiting in settle(desk):
            desk.note(f"order {waiting.client_order_id} of {waiting.symbol} is not settled yet ({waiting.state})")
    return entries_of(desk)


def plan_entries(desk: Desk, cash_now: Decimal) -> None:
    """Decide every signal of the session once; those decided but never sent are decided again on fresh quotes.

    So are those that a quote was missing for, as long as entries may go out.
    """
    signals = desk.evidence.signals_of(desk.signal_session)
    quotes, now = desk.usable_quotes([signal.symbol for signal in signals], desk.judge)
    _learn_assets(desk, signals, quotes, now, cash_now)
    with desk.ledger.write() as write:
        decisions = _decide_all(desk, write, signals, quotes, now, cash_now)
        _withdraw(desk, write, decisions)
        for decision in decisions:
            _write_down(desk, write, decision)


def entries_of(desk: Desk) -> list[Intent]:
    """The session's entry intents, in signal order."""
    found = [i for i in book.of_session(desk.ledger, desk.account, desk.day) if i.purpose == book.ENTRY]
    return sorted(found, key=lambda intent: intent.rank)


def wait_for_quote(desk: Desk) -> list[Intent]:
    """Entries refused for want of a quote, which a run within the entry window looks at again; none when it is over."""
    if desk.broker.clock().timestamp >= desk.last_entry:
        return []
    return [intent for intent in entries_of(desk) if _wants_quote(intent)]


def _wants_quote(intent: Intent) -> bool:
    return intent.state is OrderState.VETOED and intent.reason == NO_QUOTE


def _decide_all(
    desk: Desk,
    source: OrderLedger | Write,
    signals: tuple[Signal, ...],
    quotes: dict[str, Quote],
    now: dt.datetime,
    cash_now: Decimal,
) -> list[Decision]:
    """The gate over the signals in order; intents that went out already keep their place in the budget."""
    known = {i.client_order_id: i for i in book.of_session(source, desk.account, desk.day) if i.purpose == book.ENTRY}
    fixed = [i for i in known.values() if (i.state is not OrderState.INTENT or i.posts) and not _wants_quote(i)]
    spent = float(sum((i.reserved + i.spent for i in fixed), Decimal(0)))
    cash = float(cash_now + sum((_paid(i) for i in fixed), Decimal(0)))
    held = held_symbols(source, desk.account, desk.day) | {i.symbol for i in fixed if i.state is not OrderState.VETOED}
    start = standing_of(desk, source, cash)
    taken = sum(i.state is not OrderState.VETOED for i in fixed)
    decisions = []
    for rank, signal in enumerate(signals, start=1):
        quote = quotes.get(signal.symbol)
        account = start._replace(held=signal.symbol in held, positions=start.positions + taken, spent=spent)
        decision = _decide(desk, signal, rank, quote, now, account)
        before = known.get(decision.draft.client_order_id)
        if before is not None and before in fixed:
            continue
        decisions.append(decision)
        if not decision.reason:
            spent += decision.notional
            held.add(signal.symbol)
            taken += 1
    return decisions


def _decide(desk: Desk, signal: Signal, rank: int, quote: Quote | None, now: dt.datetime, account: Standing) -> Decision:
    veto = desk.judge(quote, now)
    side: Side = "buy" if signal.is_long else "sell"
    met = 0.0 if quote is None or veto is not None else float(quote.ask if signal.is_long else quote.bid)
    factor = desk.evidence.factor(signal.symbol, desk.day)
    distance = signal.stop_distance / factor
    order = Proposal(
        is_long=signal.is_long, kind=AT_QUOTE, has_price=veto is None, met=met, close=signal.close / factor, limit_distance=0.0,
        stop_distance=distance, weight=1.0,
    )  # fmt: skip
    code, qty, limit, notional = decide_entry(desk.limits, order, account)
    reason = "" if code == ACCEPTED else REASONS[code]
    if reason == NO_BAR and veto is not None:
        reason = NO_QUOTE
    detail = str(veto) if reason == NO_QUOTE else ""
    if not reason:
        reason = desk.assets_allowed.get((signal.symbol, signal.is_long), "")
    shares = _shares(qty, desk.limits.whole_shares)
    if not reason and not (math.isfinite(distance) and distance > 0 and shares > 0):
        reason = "not_finite"
    price = on_tick(limit, up=signal.is_long) if limit > 0 and math.isfinite(limit) else Decimal(0)
    draft = Draft(
        account=desk.account, strategy=desk.strategy.name, session=desk.day, signal_session=signal.session,
        symbol=signal.symbol, side=side, leg=book.ENTRY, kind="limit", time_in_force=desk.settings.trading.time_in_force,
        qty=shares, limit_price=price or None, stop_distance=Decimal(repr(distance)) if math.isfinite(distance) else None,
        reserved=shares * price, rank=rank,
        decision=_evidence_of(desk, signal, quote, now, veto, account, factor),
    )  # fmt: skip
    return Decision(draft, reason, detail, notional)


def _evidence_of(
    desk: Desk, signal: Signal, quote: Quote | None, now: dt.datetime, veto: QuoteVeto | None, account: Standing,
    factor: float,
) -> dict[str, Any]:  # fmt: skip
    """What the decision stood on, as text and numbers that JSON can hold."""
    told = {
        name: getattr(signal, name)
        for name in ("score", "close", "raw_close", "stop_distance", "rsi2", "ibs", "sma200", "atr14")
    }
    return {
        "signal": {name: value if math.isfinite(value) else None for name, value in told.items()} | signal.values,
        "quote": None if quote is None else {"bid": str(quote.bid), "ask": str(quote.ask), "at": str(quote.timestamp)},
        "quote_veto": None if veto is None else str(veto),
        "decided_at": str(now), "spent_before": account.spent, "cash": account.cash, "equity": account.equity,
        "positions": account.positions, "gross": account.gross, "factor": factor, "limits": _finite(desk.limits._asdict()),
    }  # fmt: skip


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no infinity: an absent limit is null."""
    return {name: None if value == math.inf else value for name, value in values.items()}


def _withdraw(desk: Desk, write: Write, decisions: list[Decision]) -> None:
    """Free the dollars of what is decided again, before anything takes them; veto what has no signal any more."""
    decided = {decision.draft.client_order_id for decision in decisions}
    for intent in book.of_session(write, desk.account, desk.day):
        if intent.purpose != book.ENTRY or intent.state is not OrderState.INTENT or intent.posts:
            continue
        if intent.client_order_id in decided:
            book.release(write, intent)
        else:
            book.move(write, intent, OrderState.VETOED, "vetoed", reason="signal_withdrawn", reserved="0")


def _write_down(desk: Desk, write: Write, decision: Decision) -> None:
    known = book.find(write, decision.draft.client_order_id)
    reason = decision.reason or ("" if desk.sends else SHADOW)
    if known is not None and _wants_quote(known):
        if (reason, decision.detail) == (known.reason, known.detail):
            return
        known = book.reconsider(write, known.client_order_id)
    if known is None and reason:
        book.veto(write, decision.draft, reason, decision.detail)
    elif known is None:
        book.plan(write, decision.draft, desk.daily_budget)
    elif reason:
        book.move(write, known, OrderState.VETOED, "vetoed", reason=reason, detail=decision.detail, reserved="0")
    else:
        book.replan(write, decision.draft, desk.daily_budget)


def _learn_assets(
    desk: Desk, signals: tuple[Signal, ...], quotes: dict[str, Quote], now: dt.datetime, cash_now: Decimal
) -> None:
    """Ask the broker about the symbols that would be ordered, until no new one comes up; a refused one frees its dollars."""
    while True:
        decisions = _decide_all(desk, desk.ledger, signals, quotes, now, cash_now)
        wanted = [(decision.draft.symbol, decision.draft.side == "buy") for decision in decisions if not decision.reason]
        unknown = [want for want in wanted if want not in desk.assets_allowed]
        if not unknown:
            return
        for symbol, is_long in unknown:
            desk.assets_allowed[symbol, is_long] = _asset_veto(desk, symbol, is_long)


def _asset_veto(desk: Desk, symbol: str, is_long: bool) -> str:
    asset = desk.broker.asset(symbol)
    if asset is None or asset.status != "active" or not asset.tradable:
        return "not_tradable"
    if not is_long and not asset.shortable:
        return "not_shortable"
    if not desk.limits.whole_shares and desk.stage in ("paper", "live"):
        # Fractional orders can neither be IOC, nor short, nor have a protective stop at the real broker.
        return "fractional_not_protected"
    return ""


def _not_placed(desk: Desk) -> list[Intent]:
    """Entries that did not reach the broker and may be sent again."""
    return [i for i in entries_of(desk) if i.state is OrderState.NOT_PLACED and i.posts < POSTS_AT_MOST]


def _paid(intent: Intent) -> Decimal:
    """Cash that this session's entry already moved: it was there when the others were decided."""
    paid = intent.filled_qty * (intent.filled_avg_price or Decimal(0))
    return paid if intent.side == "buy" else -paid


def _shares(qty: float, whole: bool) -> Decimal:
    if not math.isfinite(qty):
        return Decimal(0)
    return Decimal(int(qty)) if whole else Decimal(repr(qty)).quantize(SHARE, rounding=ROUND_DOWN)
