"""Exits: positions with a flag leave at the open, their protective stop cancelled first (rules, section 4.1).

With `execution.entry = "opg"` they leave in the opening auction; what it does not take leaves at the quote after it.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Iterable

from kobe_jobs.trading.context import SessionContext
from kobe_jobs.trading.executor import resolve, send
from kobe_jobs.trading.fractions import order_qty
from kobe_jobs.trading.moments import RunMoment
from kobe_jobs.trading.splits_ahead import split_ahead
from kobe_jobs.trading.stops import remove_stops, set_stop
from kobe_resources.broker.protocol import BrokerUnavailable, Quote
from kobe_resources.broker.quotes import QuoteProblem, exit_limit
from kobe_resources.errors import KobeError
from kobe_resources.order_ledger import IllegalMove, LedgerOrder, OrderPlan, OrderState, Position
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import open_positions
from kobe_resources.order_ledger.settlement import OrderMismatch
from kobe_resources.order_ledger.states import UNSETTLED
from kobe_resources.runtime.event_log import get_logger

SILENCES_AT_MOST = 3
STOP_EXIT = f"{book.EXIT}.{book.STOP}"
STOP_COLLAR_BPS = 500.0
"""How far beyond the quote the limit of such an exit lies: a stop that triggers is a market order, and prices still move."""
log = get_logger("trading")
Settle = Callable[[SessionContext], list[LedgerOrder]]


def exit_flagged(context: SessionContext, settle: Settle = resolve) -> list[LedgerOrder]:
    """Sell (or buy back) every flagged position, in the auction before the open and at the quote after it; the exit orders.

    One that the auction did not fill leaves at the quote. A position without a usable quote, or that the broker does not hold,
    keeps its flag. settle: waits for what was sent. Raises what `executor.send` raises but for questions without an answer:
    they cost the one exit they were asked for.
    """
    flagged = [
        held for held in open_positions(context.ledger, context.account) if held.flag and held.symbol not in context.missing
    ]
    if context.moment is RunMoment.BEFORE_OPEN:
        # Over a split the shares are another number at the broker by the open: they leave at the quote.
        return leave_in_auction(context, [held for held in flagged if split_ahead(context, held.symbol) is None], settle)
    by_tag: dict[str, list[Position]] = {}
    for held in flagged:
        by_tag.setdefault(exit_tag(context, held), []).append(held)
    return [order for tag, some in by_tag.items() for order in leave_positions(context, some, tag, settle=settle)]


def leave_in_auction(context: SessionContext, leaving: Iterable[Position], settle: Settle = resolve) -> list[LedgerOrder]:
    """Send a market order for the opening auction for each position, its stop lifted right before; the exit orders."""
    positions = [held for held in leaving if order_qty(context, held) and not is_over(context, held, book.EXIT)]
    if not positions:
        return []
    context.check_may_send(is_entry=False)
    # One that cannot be sold keeps its stop, and is asked about again after the open.
    tradable = [held for held in positions if _is_tradable(context, held.symbol)]
    return _leave_each(context, tradable, "", settle, lambda held: _leave(context, held, book.EXIT, in_auction=True))


def _is_tradable(context: SessionContext, symbol: str) -> bool:
    """Whether the broker takes orders for the symbol; where not, a note says that it stays."""
    asset = context.broker.asset(symbol)
    if asset is not None and asset.status == "active" and asset.tradable:
        return True
    context.note(f"{symbol} shall leave and cannot be traded at the moment: its flag stays")
    return False


def leave_positions(
    context: SessionContext,
    leaving: Iterable[Position],
    tag: str,
    any_age: bool = False,
    reason: str = "",
    settle: Settle = resolve,
) -> list[LedgerOrder]:
    """Send one exit order a position at the quote. The tag names the order id; the reason is the one given, or the flag's.

    any_age: an old quote is good enough, because no newer one will come.
    """
    positions = [held for held in leaving if order_qty(context, held) and not is_over(context, held, tag)]
    if not positions:
        return []
    context.check_may_send(is_entry=False)

    def judge(quote: Quote | None, now: dt.datetime) -> QuoteProblem | None:
        return context.judge_for_exit(quote, now, any_age)

    quotes, now = context.usable_quotes([held.symbol for held in positions], judge)
    priced = []
    for held in positions:
        quote = quotes.get(held.symbol)
        problem = judge(quote, now)
        if held.symbol in context.untradable:
            # The broker would take neither the sale nor, after it, the stop again.
            context.note(
                f"{held.symbol} shall leave ({reason or held.flag}) but cannot be traded: its flag stays, and its stop"
            )
        elif quote is None or problem is not None:
            context.note(f"{held.symbol} shall leave ({reason or held.flag}) but has {problem or 'no quote'}: its flag stays")
        else:
            priced.append(held)

    return _leave_each(
        context, priced, reason, settle, lambda held: _leave(context, held, tag, quotes[held.symbol], now, reason)
    )


def _leave_each(
    context: SessionContext,
    positions: Iterable[Position],
    reason: str,
    settle: Settle,
    leave: Callable[[Position], LedgerOrder | None],
) -> list[LedgerOrder]:
    """Let each position leave, none kept from it by another one; the orders as they ended."""
    sent, silences = [], 0
    for held in positions:
        try:
            order = leave(held)
        except BrokerUnavailable as error:
            context.note(f"{held.symbol} shall leave ({reason or held.flag}) but its exit did not go out: {error}")
            silences += 1
            if silences == SILENCES_AT_MOST:
                break
        except (OrderMismatch, IllegalMove) as error:
            context.trouble(f"the exit of {held.symbol} did not go out: {error}")
        except KobeError:
            raise
        except Exception as error:
            # A defect with one position must not keep the others from leaving.
            context.trouble(f"the exit of {held.symbol} did not go out: {type(error).__name__}: {error}")
            log.exception("an exit did not go out", symbol=held.symbol)
        else:
            sent += [order] if order else []
    for waiting in settle(context):
        context.note(f"order {waiting.client_order_id} of {waiting.symbol} is not settled yet")
    ended = [book.get(context.ledger, order.client_order_id) for order in sent]
    for order in ended:
        if order.state not in (OrderState.FILLED, *UNSETTLED):
            context.note(f"the exit of {order.symbol} ended {order.state}: {order.detail or 'no fill'}; its flag stays")
    return ended


def exit_tag(context: SessionContext, held: Position) -> str:
    """The name of the exit that is due: a new one where the one before went into an auction without a fill, or was refused."""
    tag = book.EXIT
    for number in itertools.count(2):
        known = book.find(context.ledger, _exit_order(context, held, tag).client_order_id)
        if known is None or not _makes_room(context, known):
            break
        tag = f"{book.EXIT}.{number}"
    return tag


def _makes_room(context: SessionContext, known: LedgerOrder) -> bool:
    """Whether another exit may follow this one in the session: after an auction, and where the broker never took it.

    One that it took, and that the market then did not fill, is not sent again on the same day. A replay follows the simulation,
    which tries once.
    """
    if known.time_in_force == "opg":
        return known.state not in (OrderState.FILLED, *UNSETTLED)
    return known.state is OrderState.REJECTED and not known.acknowledged and not context.ledger.disposable


def symbols_not_left(context: SessionContext) -> list[str]:
    """Symbols that are flagged for exit and whose exit order did not fill in this session."""
    flagged = [held for held in open_positions(context.ledger, context.account) if held.flag]
    if context.moment is RunMoment.BEFORE_OPEN:
        # What the auction does not take leaves after the open.
        return []
    return [held.symbol for held in flagged if not is_over(context, held, exit_tag(context, held))]


def stop_is_next(context: SessionContext, held: Position) -> bool:
    """Whether the last try to leave in this session met no market: the stop is tried before another exit goes out.

    A broker that takes it sells at once, or guards what is left; one that refuses it has said that the exit is due again.
    """
    tries = [order for order in book.of_position(context.ledger, held.id) if order.session == context.session]
    return bool(tries) and tries[-1].purpose == book.EXIT and is_over(context, held, tries[-1].tag)


def stop_tag(context: SessionContext, held: Position) -> str:
    """The name of the exit that replaces a stop whose price was passed; a new one after each that ended without a fill."""
    tries = [
        i for i in book.of_position(context.ledger, held.id) if i.tag.startswith(STOP_EXIT) and i.session == context.session
    ]
    if tries and not is_over(context, held, tries[-1].tag):
        return tries[-1].tag
    return f"{STOP_EXIT}.{len(tries) + 1}" if tries else STOP_EXIT


def _leave(
    context: SessionContext, held: Position, tag: str, quote: Quote | None = None, now: dt.datetime | None = None,
    reason: str = "", in_auction: bool = False,
) -> LedgerOrder | None:  # fmt: skip
    """Lift the stop and send the exit; where that cannot go out after all, the stop is set again at once."""
    # Read again before the stop goes: with the switch on, the stop is all that is left.
    context.check_may_send(is_entry=False)
    free = remove_stops(context, held)
    if free is None:
        context.note(f"the stop of {held.symbol} could not be cancelled: it stays, and so does the position")
        return None
    if not free.is_open or is_over(context, free, tag):
        return None
    planned = _plan_exit(context, _exit_order(context, free, tag, quote, now, reason, in_auction))
    try:
        return send(context, planned.client_order_id)
    except Exception:
        left = book.get(context.ledger, planned.client_order_id)
        if left.state is OrderState.PLANNED and not left.posts:
            _set_again(context, free)
        raise


def _set_again(context: SessionContext, held: Position) -> None:
    """Set the stop again that was cancelled for an exit that was not sent; later rounds retry a failure."""
    if held.id not in context.lifted:
        return
    try:
        set_stop(context, held)
    except KobeError as error:
        context.note(f"the stop of {held.symbol} is not back yet: {error}")


def is_over(context: SessionContext, held: Position, tag: str) -> bool:
    """Whether this exit reached the market or may have; an unfilled exit is not sent twice in one session."""
    known = book.find(context.ledger, _exit_order(context, held, tag).client_order_id)
    if known is None or known.state is OrderState.PLANNED:
        return False
    # It goes out again as it was, or not at all: the first one may yet turn up.
    is_same = known.qty == order_qty(context, held)
    return not (is_same and known.state is OrderState.NOT_PLACED and known.posts < book.POSTS_AT_MOST)


def _plan_exit(context: SessionContext, order_plan: OrderPlan) -> LedgerOrder:
    with context.ledger.write() as write:
        known = book.find(write, order_plan.client_order_id)
        if known is None:
            return book.plan(write, order_plan)
        if known.state is OrderState.NOT_PLACED:
            return book.retry(write, known.client_order_id)
        return book.replan(write, order_plan)


def _exit_order(
    context: SessionContext,
    held: Position,
    tag: str,
    quote: Quote | None = None,
    now: dt.datetime | None = None,
    reason: str = "",
    in_auction: bool = False,
) -> OrderPlan:
    is_long = held.side == "long"
    trading, offset = context.settings.trading, context.limits.limit_offset_bps
    if tag.startswith(STOP_EXIT):
        offset = max(offset, STOP_COLLAR_BPS)
    decision = {"position": held.id, "flag": held.flag, "bars_held": held.bars_held}
    if quote is not None:
        decision |= {"bid": str(quote.bid), "ask": str(quote.ask), "quoted_at": str(quote.timestamp), "decided_at": str(now)}
    return OrderPlan(
        account=context.account, strategy=held.strategy, session=context.session, signal_session=context.signal_session,
        symbol=held.symbol, side="sell" if is_long else "buy", tag=tag, kind="market" if in_auction else "limit",
        time_in_force="opg" if in_auction else trading.time_in_force,
        qty=order_qty(context, held), position_id=held.id,
        limit_price=None if quote is None else exit_limit(quote, is_long, offset),
        reason=reason or held.flag or tag, decision=decision,
    )  # fmt: skip
