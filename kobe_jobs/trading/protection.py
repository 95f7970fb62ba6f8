"""Protection: every position with its stop and no stop without its position, as the broker shows them when asked last.

A round asks for open orders and positions, and sets, replaces or removes stops by them; rounds follow each other until nothing
is left to do or the time is over. A failure at one position does not stop the round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial

from kobe_jobs.trading.bare_positions import AtBroker, ask_broker_state, find_gaps, is_protected
from kobe_jobs.trading.context import MarketShut, NotThisSession, SessionContext, polls
from kobe_jobs.trading.executor import resolve
from kobe_jobs.trading.exits import leave_positions, stop_is_next, stop_tag
from kobe_jobs.trading.fractions import order_qty
from kobe_jobs.trading.order_looks import FillTimes, look_up
from kobe_jobs.trading.splits_ahead import waiting_for_split
from kobe_jobs.trading.stops import (
    LIVING,
    bound_by,
    is_passed,
    living_stops,
    look_for_lost,
    may_have_exit,
    remove_misfits,
    remove_stop,
    set_stop,
)
from kobe_resources.broker.protocol import BrokerUnavailable, Quote, SendsNothing, Unauthorized, WrongAccount
from kobe_resources.errors import KobeError
from kobe_resources.kill_switch import KillSwitchOn
from kobe_resources.order_ledger import LedgerOrder, OrderState, Position
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import open_positions, position
from kobe_resources.order_ledger.states import UNSETTLED
from kobe_resources.runtime.event_log import get_logger

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 10.0
ROUNDS_WITHOUT_HOPE = 3
"""Looks at what nothing can be done about: fills in flight explain many a difference of shares."""
FIRST_WAIT_S, BARE_AT_MOST_S = 0.3, 2.0
"""While orders are waited for, what has filled meanwhile gets its stop after the first wait, and then this often."""
log = get_logger("trading")


@dataclass(frozen=True)
class Protection:
    """What the broker showed when it was asked last.

    bare: symbols held without their stop. orphans: symbols with a stop and no position. waiting: orders whose fate is open.
    stopped: what kept stops from being sent. answered: False where the last question got no answer.
    """

    bare: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    stopped: str = ""
    answered: bool = True

    @property
    def is_whole(self) -> bool:
        """Whether every position has its stop and every stop its position, and nothing is under way."""
        return self.answered and not (self.bare or self.orphans or self.waiting)

    def describe(self) -> str:
        """What is wrong, in one line; empty where nothing is."""
        if not self.answered:
            return "the broker did not say what is protected"
        parts = [self.stopped] if self.stopped and self.bare else []
        parts += [f"{symbol} has no protective stop at the broker" for symbol in self.bare]
        parts += [f"a stop of {symbol} rests at the broker without a position" for symbol in self.orphans]
        parts += [f"{what} is not settled" for what in self.waiting]
        return "; ".join(parts)


def protect(context: SessionContext, patience_s: float) -> Protection:
    """Set, replace and remove stops until the broker shows each position with its own, or time is over; what it showed last.

    Raises Unauthorized and WrongAccount; any other failure costs one position its stop, and the rest go on.
    """
    found = Protection(answered=False)
    for number, left in enumerate(polls(patience_s, FIRST_PAUSE_S, LONGEST_PAUSE_S)):
        there = _look(context)
        if there is None:
            found = Protection(answered=False)
            continue
        found = replace(judge(context, there), stopped=found.stopped)
        if found.is_whole or left <= 0:
            break
        has_hope, stopped = _mend(context, there)
        found = replace(found, stopped=stopped)
        if not has_hope and number + 1 >= ROUNDS_WITHOUT_HOPE:
            break
    return found


def ensure_stops(context: SessionContext, leave_out: Collection[str] = ()) -> None:
    """One round: place the stops that are missing or no longer fit. leave_out: ids of positions that it passes by."""
    there = _look(context)
    if there is not None and not judge(context, there).is_whole:
        _mend(context, there, leave_out)


def tend(context: SessionContext) -> list[LedgerOrder]:
    """Wait for unsettled orders, as `resolve`, and set the stop of each entry as soon as it fills."""
    deadline = time.monotonic() + context.settings.trading.resolve_timeout_s
    pause = FIRST_WAIT_S
    while True:
        left = deadline - time.monotonic()
        waiting = resolve(context, max(min(left, pause), 0.0))
        if not waiting or left <= pause:
            return waiting
        pause = BARE_AT_MOST_S
        ensure_stops(context, {order.client_order_id for order in waiting if order.purpose == book.ENTRY})


def judge(context: SessionContext, there: AtBroker) -> Protection:
    """The protection that the broker shows, with every gap in it."""
    gaps = find_gaps(context.ledger, open_positions(context.ledger, context.account), there)
    lifted = waiting_for_split(context)
    bare = tuple(row.symbol for row in gaps.bare if row.symbol not in lifted)
    orphans = tuple(sorted({order.symbol for order in gaps.orphans}))
    waiting = []
    for ours in book.unsettled(context.ledger, context.account):
        if context.is_working(ours) and there.order(ours.client_order_id) is not None:
            continue
        if ours.purpose != book.STOP or there.order(ours.client_order_id) is None:
            waiting.append(f"{ours.tag} {ours.symbol}")
    for order in there.orders:
        known = book.find(context.ledger, order.client_order_id)
        if order.kind != "stop" and known is not None and known.state not in UNSETTLED:
            waiting.append(f"{known.tag} {known.symbol}")
    return Protection(bare, orphans, tuple(sorted(waiting)))


def _look(context: SessionContext) -> AtBroker | None:
    try:
        return ask_broker_state(context.broker, context.ledger, context.account)
    except BrokerUnavailable as error:
        log.warning("the broker did not say what is protected", reason=str(error))
        return None


def _mend(context: SessionContext, there: AtBroker, leave_out: Collection[str] = ()) -> tuple[bool, str]:
    """One round over what is not as it should be: (may another one help, what kept stops from being sent)."""
    round_ = _Round(context, there)
    if any(order.purpose != book.STOP for order in book.unsettled(context.ledger, context.account)):
        round_.attempt("orders", round_.resolve)
    for order in _lost(context, there):
        round_.attempt(order.symbol, partial(round_.look_for, order))
    for order in _orphans(context):
        round_.attempt(order.symbol, partial(round_.remove, order))
    lifted = waiting_for_split(context)
    for held in open_positions(context.ledger, context.account):
        if held.symbol in lifted:
            continue
        if held.id not in leave_out and not is_protected(context.ledger, held, there):
            round_.attempt(held.symbol, partial(round_.mend, held))
    return round_.has_hope, round_.stopped


def _lost(context: SessionContext, there: AtBroker) -> list[LedgerOrder]:
    """Entries that were sent and given up, in symbols of which the broker holds other shares than the ledger does."""
    ours = {held.symbol: held.signed_qty for held in open_positions(context.ledger, context.account)}
    sent = book.in_states(context.ledger, context.account, [OrderState.NOT_PLACED, OrderState.PLANNED])
    given_up = [i for i in sent if i.purpose == book.ENTRY and (i.state is OrderState.NOT_PLACED or i.posts)]
    return [order for order in given_up if there.qty(order.symbol) != ours.get(order.symbol, 0)]


def _orphans(context: SessionContext) -> list[LedgerOrder]:
    """Stops without a position; triggered, they would open one the other way."""
    found = []
    for order in book.in_states(context.ledger, context.account, LIVING):
        if order.purpose == book.STOP and order.position_id is not None:
            held = position(context.ledger, order.position_id)
            if held is None or not held.is_open:
                found.append(order)
    return found


class _Round:
    """One round; its quotes are asked for once, and only where a stop is to be set."""

    def __init__(self, context: SessionContext, there: AtBroker) -> None:
        self.context, self.there = context, there
        self.has_hope, self.stopped = False, ""
        self._quotes: dict[str, Quote] | None = None

    def attempt(self, symbol: str, mend: Callable[[], bool]) -> None:
        """Run one action; an error is noted and does not stop the round."""
        try:
            self.has_hope |= mend()
        except (Unauthorized, WrongAccount, SendsNothing):
            raise
        except (KillSwitchOn, MarketShut, NotThisSession) as error:
            self.stopped = str(error)
        except KobeError as error:
            self.has_hope = True
            log.warning("a position could not be protected yet", symbol=symbol, reason=str(error))
        except Exception as error:
            # A defect with one position must not leave the others bare.
            self.has_hope = True
            self.context.trouble(f"{symbol}: {type(error).__name__}: {error}")
            log.exception("a position could not be protected", symbol=symbol)

    def resolve(self) -> bool:
        """Look up what is unsettled, once."""
        resolve(self.context, 0.0)
        return True

    def look_for(self, order: LedgerOrder) -> bool:
        """Look an order up once more."""
        look_up(self.context, order, FillTimes(self.context))
        return True

    def remove(self, order: LedgerOrder) -> bool:
        """Take a stop without a position away."""
        remove_stop(self.context, order)
        return True

    def mend(self, held: Position) -> bool:
        """Bring one position to its stop, or out of the market that has passed it; False where nothing can be done."""
        context, there = self.context, self.there
        look_for_lost(context, held, there)
        current = position(context.ledger, held.id)
        if current is None or not current.is_open:
            return True
        if not there.holds(current):
            # No stop is touched while the two sides differ in shares; what has just been learned needs another look.
            return current != held
        if may_have_exit(context, current, there):
            return True
        remove_misfits(context, current, there)
        if position(context.ledger, held.id) != current:
            return True
        if any(order.state is not OrderState.PLANNED for order in living_stops(context, current)):
            return True
        if not order_qty(context, current):
            # What is left of a share takes no order; a note names it.
            return False
        order = bound_by(context, current, there)
        if order is not None:
            context.note(
                f"an order to {order.side} {order.symbol} that Kobe did not send leaves too few shares for its stop:"
                " end it at the broker"
            )
            return True
        if is_passed(context, current, self._quote(current.symbol)) and not stop_is_next(context, current):
            context.note(f"the market is beyond the stop of {current.symbol} ({current.stop_price}): it leaves at the quote")
            leave_positions(context, [current], stop_tag(context, current), reason=book.STOP, settle=lambda _: [])
            return True
        set_stop(context, current)
        return True

    def _quote(self, symbol: str) -> Quote | None:
        if self._quotes is None:
            wanted = [held.symbol for held in open_positions(self.context.ledger, self.context.account)]
            try:
                self._quotes = self.context.quotes(held for held in wanted if not self.there.protects(held))
            except (Unauthorized, WrongAccount):
                raise
            except Exception:
                # A stop needs no quote; the broker refuses one that the market has passed.
                log.exception("no quotes beside the stops")
                self._quotes = {}
        return self._quotes.get(symbol)
