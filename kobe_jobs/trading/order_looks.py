"""Look-ups of orders at the broker, and the broker's answers applied to the ledger. Sends nothing.

An order that is not found counts as not placed only after several look-ups over some time, because the broker may show an
order late; one that the broker has acknowledged never does.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from decimal import Decimal

from kobe_jobs.trading.bare_positions import PROTECTING
from kobe_jobs.trading.context import SessionContext, day_start
from kobe_resources.broker.pacing import urgent
from kobe_resources.broker.protocol import BrokerFill, BrokerOrder, BrokerUnavailable, OrderStatus
from kobe_resources.calendar import NEW_YORK
from kobe_resources.errors import KobeError
from kobe_resources.order_ledger import IllegalMove, LedgerOrder, OrderPlan, OrderState
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.settlement import OrderMismatch, settle
from kobe_resources.runtime.event_log import event_context, get_logger

MISSES_BEFORE_NOT_PLACED = 3
MANY_ORDERS = 2
"""From so many on, the list of open orders is asked for first: it spares a look-up each."""
FAR_OFF = 3
"""A fill over so many times an entry's limit, or under that part of it, is believed once the executions say the same."""
SAME_AVERAGE = Decimal("0.01")
log = get_logger("trading")


def look_at_all(context: SessionContext, times: FillTimes) -> list[tuple[LedgerOrder, BrokerOrder | None]]:
    """Every unsettled order with the broker's: from one list of open orders, then a look-up for each that it leaves open."""
    unsettled = book.unsettled(context.ledger, context.account)
    listed = _open_orders(context) if len(unsettled) >= MANY_ORDERS else {}
    seen: list[tuple[LedgerOrder, BrokerOrder | None]] = []
    for ours in unsettled:
        order = listed.get(ours.client_order_id)
        # A list may be older than a cancel that was asked.
        in_doubt = ours.purpose == book.STOP and ours.state is OrderState.UNKNOWN
        if order is None or in_doubt:
            seen.append(look_at(context, ours, times))
        elif _is_news(ours, order):
            seen.append(_take(context, ours, order, times))
        else:
            seen.append((ours, order))
    return seen


def look_up(context: SessionContext, order: LedgerOrder, times: FillTimes) -> LedgerOrder:
    """One look at one order, and what follows from it."""
    return look_at(context, order, times)[0]


def look_at(context: SessionContext, ours: LedgerOrder, times: FillTimes) -> tuple[LedgerOrder, BrokerOrder | None]:
    """One look-up: the ledger's order as it then is, and the broker's where there is one."""
    try:
        with urgent(ours.purpose == book.STOP):
            order = context.broker.order_by_client_id(ours.client_order_id)
            if order is not None:
                return _take(context, ours, order, times)
        with context.ledger.write() as write:
            missed = book.miss(write, ours.client_order_id)
        if is_missed(context, missed):
            listed = _in_list(context, ours)
            if listed is not None and not listed.unread:
                return _take(context, ours, listed, times)
            if listed is None and _is_given_up(context, missed):
                with context.ledger.write() as write:
                    current = book.get(write, ours.client_order_id)
                    if current.state not in (OrderState.SUBMITTING, OrderState.UNKNOWN):
                        return current, None
                    return book.move(write, current, OrderState.NOT_PLACED, "not_placed", owner=None), None
        return missed, None
    except BrokerUnavailable as error:
        return _not_looked_up(context, ours, error), None


def _take(
    context: SessionContext, ours: LedgerOrder, order: BrokerOrder, times: FillTimes
) -> tuple[LedgerOrder, BrokerOrder | None]:  # fmt: skip
    """The ledger's order once the broker's answer was applied, and the answer, where it fits.

    One that does not costs this look, and no other order's: reconciliation names it, and the next look may read better.
    """
    try:
        return apply_broker_order(context, ours, order, times), order
    except (OrderMismatch, IllegalMove) as error:
        context.note(str(error))
        return _not_looked_up(context, ours, error), None


def _not_looked_up(context: SessionContext, ours: LedgerOrder, error: KobeError) -> LedgerOrder:
    with event_context(order_id=ours.client_order_id):
        log.warning("an order could not be looked up", reason=str(error))
    return book.get(context.ledger, ours.client_order_id)


def apply_broker_order(context: SessionContext, ours: LedgerOrder, order: BrokerOrder, times: FillTimes) -> LedgerOrder:
    """Bring the ledger to what the broker says of an order.

    Raises OrderMismatch as `settle`, and where an entry's price lies beyond reason and the executions do not bear it out.
    """
    at = dt.datetime.now(dt.UTC)
    if order.filled_qty > ours.filled_qty:
        times.check_price(order, ours)
        *earlier, (_, at) = times.parts(order, ours)
        for part, then in earlier:
            with context.ledger.write() as write:
                settle(write, ours.client_order_id, part, then)
    with context.ledger.write() as write:
        current = book.get(write, ours.client_order_id)
        if current.state is OrderState.UNKNOWN and current.broker_order_id == order.id and _tells_nothing(current, order):
            return current
        settled = settle(write, ours.client_order_id, order, at)
        if settled.state is OrderState.ACCEPTED and _tells_nothing(settled, order):
            details = {"status": order.raw_status, "request": order.request_id}
            return book.move(write, settled, OrderState.UNKNOWN, "not_resting", details)
        return settled


def is_missed(context: SessionContext, order: LedgerOrder) -> bool:
    """Whether it was not seen in several looks, over the time after which an order counts as not placed."""
    if order.first_missed_at is None or order.misses < MISSES_BEFORE_NOT_PLACED:
        return False
    waited = (dt.datetime.now(dt.UTC) - order.first_missed_at).total_seconds()
    return waited >= context.settings.trading.not_placed_after_s


class FillTimes:
    """When orders filled, from the broker's executions, which are asked for only where a date hangs on them.

    One for the orders of one moment: clock and executions are asked for once.
    """

    def __init__(self, context: SessionContext) -> None:
        self._context = context
        self._now: dt.datetime | None = None
        self._fills: dict[dt.date, list[BrokerFill]] = {}

    def of(self, order: BrokerOrder, ours: LedgerOrder | OrderPlan) -> dt.datetime:
        """When the order last filled: an order that rests may have done so on another day than this."""
        if ours.time_in_force != "gtc" and ours.session == self._context.session:
            return self._clock()
        times = self._executed(order, ours.session)
        if not times:
            # It may have filled since they were asked for.
            self._fills.pop(ours.session, None)
            times = self._executed(order, ours.session)
        return max(times, default=None) or self._clock()

    def parts(self, order: BrokerOrder, ours: LedgerOrder) -> list[tuple[BrokerOrder, dt.datetime]]:
        """What has filled of an order as it stood at the end of each day, with the time; the order as it is comes last.

        Between two days a split may lie, so that shares of the one are not those of the other.
        """
        last = self.of(order, ours)
        days: dict[dt.date, tuple[Decimal, Decimal, dt.datetime]] = {}
        filled, worth = Decimal(0), Decimal(0)
        for fill in sorted(self._fills_of(order, ours.session), key=lambda fill: fill.at):
            filled, worth = filled + fill.qty, worth + fill.qty * fill.price
            days[fill.at.astimezone(NEW_YORK).date()] = filled, worth, fill.at
        if filled != order.filled_qty:
            # The list lags behind the order.
            return [(order, last)]
        earlier = [
            (replace(order, filled_qty=qty, filled_avg_price=dollars / qty, status=OrderStatus.PARTIALLY_FILLED), at)
            for qty, dollars, at in list(days.values())[:-1]
            if qty > ours.filled_qty
        ]
        return [*earlier, (order, last)]

    def check_price(self, order: BrokerOrder, ours: LedgerOrder) -> None:
        """Raise OrderMismatch where an entry filled far from its limit and its executions do not say so: a stop hangs on it."""
        limit, average = ours.limit_price, order.filled_avg_price
        if ours.purpose != book.ENTRY or not limit or average is None or limit / FAR_OFF <= average <= limit * FAR_OFF:
            return
        # It may have filled since they were asked for.
        self._fills.pop(ours.session, None)
        self._executed(order, ours.session)
        fills = self._fills_of(order, ours.session)
        filled, worth = sum(fill.qty for fill in fills), sum(fill.qty * fill.price for fill in fills)
        if filled != order.filled_qty or abs(worth - filled * average) > SAME_AVERAGE * worth:
            raise OrderMismatch(
                f"order {ours.client_order_id} of {ours.symbol} is said to have filled at {average}, with a limit of {limit}",
                "its executions do not say so: look again later",
            )

    def _executed(self, order: BrokerOrder, since: dt.date) -> list[dt.datetime]:
        if since not in self._fills:
            self._fills[since] = self._context.broker.fills(day_start(since))
        return [fill.at for fill in self._fills_of(order, since)]

    def _fills_of(self, order: BrokerOrder, since: dt.date) -> list[BrokerFill]:
        """Executions that were asked for, of the order and of those whose place it took."""
        return [fill for fill in self._fills.get(since, ()) if fill.order_id in (order.id, *order.earlier_ids)]

    def _clock(self) -> dt.datetime:
        if self._now is None:
            self._now = self._context.broker.clock().timestamp
        return self._now


def _open_orders(context: SessionContext) -> dict[str, BrokerOrder]:
    try:
        return {order.client_order_id: order for order in context.broker.orders("open") if not order.unread}
    except BrokerUnavailable:
        return {}


def _is_news(ours: LedgerOrder, order: BrokerOrder) -> bool:
    known = ours.state is OrderState.ACCEPTED and ours.broker_order_id == order.id
    same = known and order.filled_qty == ours.filled_qty and not order.is_terminal
    return not same or _tells_nothing(ours, order)


def _tells_nothing(ours: LedgerOrder, order: BrokerOrder) -> bool:
    """Whether it is a stop that is neither over nor working (pending_new, pending_cancel), because it protects nothing then."""
    is_stop = ours.purpose == book.STOP and order.filled_qty == ours.filled_qty
    return is_stop and not order.is_terminal and order.status not in PROTECTING


def _is_given_up(context: SessionContext, order: LedgerOrder) -> bool:
    """Whether a missed order is given up; one that the broker named a duplicate exists, and is given up after its session."""
    return not (order.acknowledged and (order.broker_order_id is not None or order.session >= context.session))


def _sent_since(order: LedgerOrder) -> dt.datetime:
    """No earlier than this was the order sent: those of the auction and of the day may go out the evening before."""
    is_early = order.time_in_force == "opg" or order.works_all_day
    return day_start(order.signal_session if is_early else order.session)


def _in_list(context: SessionContext, ours: LedgerOrder) -> BrokerOrder | None:
    """The order as the broker's list shows it, where a look-up by its id does not."""
    orders = context.broker.orders("all", after=_sent_since(ours))
    return next((order for order in orders if order.client_order_id == ours.client_order_id), None)
