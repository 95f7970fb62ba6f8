"""The embedded broker's book: takes orders, matches them against stored bars as the clock moves on, splits shares.

An order's way is a list of steps (`accept`, `match`, …), each at once or after a while of real time; what is due is done before
anything else is asked or answered, and all of it before the simulated clock moves.

The order of things within a session is that of rules.md, section 4: dividends are paid before the open; the auction and the
orders that wait for the open meet it; limit orders and stops meet the bar, and stops that protect what filled in it the close;
orders at the close meet the closing quote. Fills are not rounded to cents: a replay must equal a simulation.
"""

from __future__ import annotations

import datetime as dt
import math
import time
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from kobe_resources.broker.exchange.bars import Bar, ExchangeSplit
from kobe_resources.broker.exchange.clock import ExchangeMarket, MarketQuote, Moment, Phase, Terms, stamp
from kobe_resources.broker.exchange.faults import Fault
from kobe_resources.broker.exchange.order_rules import UNPROCESSABLE, Refusal, Ticket, check_order
from kobe_resources.broker.exchange.state import ON_TICK, OPEN_STATUSES, Row, State, billionths, tick_size
from kobe_resources.broker.exchange.strictness import Strictness
from kobe_resources.errors import UsageError

SECOND = 1_000_000
"""In ticks of the clock."""


class Step(NamedTuple):
    """What happens to an order, `after` so many seconds: accept, match, cancel, reject or fill. share: of `match`."""

    after: float
    what: str
    share: float = 1.0


class Book:
    """One account's orders and positions over `market`."""

    def __init__(self, state: State, market: ExchangeMarket, terms: Terms) -> None:
        self.state = state
        self.market = market
        self.terms = terms

    def now(self) -> dt.datetime:
        """The simulated time."""
        return self.market.instant(self.state.moment())

    @property
    def strictness(self) -> Strictness:
        """How strict the broker is now."""
        return self.market.script.strictness

    def submit(self, fields: Mapping[str, Any], fault: Fault | None = None) -> Row:
        """Take an order, and match it against the quote, now or after a while; the row as stored. Raises Refusal.

        fault: what else becomes of it (a kind of `faults.OF_ORDERS`).
        """
        with self.state.transaction():
            self.settle()
            moment = self.state.moment()
            ticket = check_order(fields, self.state, self.market, self.terms, moment)
            order = self._store(ticket, self._tick(moment))
            self._go(order["id"], self._way_of(ticket, fault))
            if fault is not None and fault.kind == "late_visibility":
                self.state.hide(order["id"], fault.lookups, fault.seconds)
            stored = self.state.order(order["id"])
        assert stored is not None
        return stored

    def cancel(self, order_id: str, fault: Fault | None = None) -> None:
        """Cancel an open order, now or after a while. Raises Refusal.

        fault: what becomes of the cancel instead (a kind of `faults.OF_CANCELS`).
        """
        with self.state.transaction():
            self.settle()
            order = self._changeable(order_id)
            if order["status"] == "pending_cancel":
                raise Refusal(422, UNPROCESSABLE, "order pending cancel")
            at = self._tick(self.state.moment())
            is_overtaken = fault is not None and fault.kind == "fill_on_cancel"
            is_slow = fault is not None and fault.kind in ("slow_cancel", "fill_on_cancel")
            after = fault.seconds if fault is not None and is_slow else self.strictness.cancel_after_s
            self.state.set_status(order_id, "pending_cancel", at)
            self._go(order_id, [Step(after, "fill" if is_overtaken else "cancel")])

    def replace(self, order_id: str, changes: Mapping[str, Any]) -> Row:
        """Put another order in the place of an open one, under ids of its own; the new one. changes: qty, limit_price or
        stop_price. Raises Refusal.
        """
        with self.state.transaction():
            self.settle()
            order = self._changeable(order_id)
            known = {name: float(changes[name]) for name in ("qty", "limit_price", "stop_price") if changes.get(name)}
            return self.state.replace(order, known, self._tick(self.state.moment()))

    def settle(self, everything: bool = False) -> None:
        """Do what is due by now, or everything that is planned."""
        until = math.inf if everything else time.time()
        due = self.state.next_due()
        if due is None or due > until:
            return
        with self.state.transaction():
            while (plan := self.state.take_plan(until)) is not None:
                self._take(plan["order_id"], plan["step"], plan["share"])

    def quotes(self, symbols: list[str]) -> dict[str, MarketQuote]:
        """The latest quotes; while there is no ask yet, each question takes a second."""
        with self.state.transaction():
            moment = self.state.moment()
            if self.market.is_quiet(moment):
                self.state.set_moment(moment._replace(ticks=moment.ticks + SECOND))
        found = {symbol: self.market.quote(symbol, moment) for symbol in symbols}
        return {symbol: quote for symbol, quote in found.items() if quote is not None}

    def advance_to(self, session: dt.date, phase: Phase) -> None:
        """Let time pass to `phase` of `session`, through every session between; standing there already is no error.

        All of it or nothing is kept. Raises UsageError for a session without stored hours, or one that has passed: only a
        broker that never had an order may go back.
        """
        target = Moment(session, phase)
        self.market.day(session)
        with self.state.transaction():
            self.settle(everything=True)
            moment = self.state.moment()
            if self.state.row("SELECT 1 FROM orders") is None:
                self.state.set_moment(target if moment.order != target.order else moment)
                return
            if moment.order > target.order:
                raise UsageError(
                    f"the embedded broker stands at {moment.session} {moment.phase}, later than {session} {phase}",
                    "choose a later session, or begin a fresh account: `kobe account reset`",
                )
            while moment.order < target.order:
                idle = not (self.state.open_orders() or self.state.positions())
                moment = target if idle else self._step(moment)
                self.state.set_moment(moment)

    def _step(self, moment: Moment) -> Moment:
        """One phase on, with what happens on the way."""
        following = self.market.step_after(moment)
        if following.phase == "pre_open":
            self.state.set_moment(following)
            for split in self.market.splits(moment.session, following.session):
                self._split(split, following)
            self._pay_dividends(following)
        elif following.phase == "open":
            self.state.set_moment(following)
            self._open(following)
        elif following.phase in ("midday", "close"):
            for order in self.state.open_orders():
                bar = self.market.bar(order["symbol"], moment.session)
                if bar is not None and not (order["kind"] == "stop" and self._is_doubted(order, bar)):
                    (self._meet_bar if following.phase == "midday" else self._meet_close)(order, bar)
        elif following.phase == "after":
            self.state.set_moment(following)
            for order in self.state.open_orders():
                if order["time_in_force"] == "day":
                    self._end(order["id"], "expired")
            self._bill_borrowing(following)
        return following

    def _open(self, moment: Moment) -> None:
        """Every order that waited meets the open; what the auction did not fill is over."""
        for order in self.state.open_orders():
            if order["status"] == "accepted":
                self.state.set_status(order["id"], "new", stamp(self.now()))
            if order["time_in_force"] == "opg":
                self._meet_auction(order, moment)
            else:
                self._meet_quote(order, moment, 1.0)

    def _pay_dividends(self, moment: Moment) -> None:
        """Who held shares at their symbol's bar before is paid, a short pays (rules, section 4.1)."""
        for held in self.state.positions():
            for paid in self.market.dividends(held["symbol"], moment.session):
                self.state.move_cash(
                    "DIV", held["qty"] * paid.amount, stamp(self.now()), "cash dividend", held["symbol"], held["qty"],
                    paid.amount,
                )  # fmt: skip

    def _bill_borrowing(self, moment: Moment) -> None:
        """Every short pays for the nights to come (rules, section 4.8)."""
        nights = self.market.nights(moment.session)
        for held in self.state.positions():
            price = self.market.price(held["symbol"], moment)
            owed = self.terms.billing.of_borrowing(-held["qty"] * (price or 0.0), nights)
            if owed > 0.0:
                self.state.move_cash("FEE", -owed, stamp(self.now()), "stock borrow fee", held["symbol"], held["qty"], 0.0)

    def _split(self, split: ExchangeSplit, moment: Moment) -> None:
        """Positions and open orders follow the split, as strictly as the settings say."""
        self.state.split(
            split.symbol,
            split.ratio,
            whole=self.strictness.cash_in_lieu and not self.terms.fractional,
            moves_stops=self.strictness.splits_move_stop_prices,
            price=self.market.price(split.symbol, moment) or 0.0,
            at=stamp(self.now()),
        )
        if self.strictness.splits_replace_orders:
            for order in self.state.open_orders(split.symbol):
                self.state.replace(order, {}, stamp(self.now()))

    def _way_of(self, ticket: Ticket, fault: Fault | None) -> list[Step]:
        """What happens to a new order, in order."""
        kind = fault.kind if fault else ""
        seconds = fault.seconds if fault else 0.0
        accepted = seconds if kind == "slow_new" else self.strictness.new_after_s
        met = accepted + (seconds if kind == "slow_fill" else self.strictness.fill_after_s)
        steps = [Step(accepted, "accept")]
        if kind == "late_reject":
            return [*steps, Step(max(seconds, accepted), "reject")]
        share = {"partial_fill": fault.share, "no_fill": 0.0}.get(kind, 1.0) if fault else 1.0
        if ticket.kind != "stop" and ticket.time_in_force != "opg":
            steps.append(Step(met, "match", share))
        if ticket.time_in_force == "ioc":
            steps.append(Step(met, "cancel"))
        if kind == "late_cancel":
            steps.append(Step(max(seconds, met), "cancel"))
        return steps

    def _go(self, order_id: str, steps: list[Step]) -> None:
        """Do the steps that come at once, plan the others."""
        now = time.time()
        for step in steps:
            if step.after <= 0.0:
                self._take(order_id, step.what, step.share)
            elif self._open_order(order_id) is not None:
                self.state.plan(order_id, now + step.after, step.what, step.share)

    def _take(self, order_id: str, what: str, share: float) -> None:
        """One step of an order that is still open."""
        order = self._open_order(order_id)
        if order is None:
            return
        moment = self.state.moment()
        if what == "accept":
            if order["status"] == "pending_new":
                self.state.set_status(order_id, "new" if moment.is_open else "accepted", stamp(self.now()))
        elif what == "match":
            if moment.is_open:
                self._meet_quote(order, moment, share)
        elif what == "fill":
            self._fill_at_last(order, moment)
        else:
            self._end(order_id, {"cancel": "canceled", "reject": "rejected"}[what])

    def _changeable(self, order_id: str) -> Row:
        """The open order of that id. Raises Refusal where there is none, or it has ended."""
        order = self.state.order(order_id)
        if order is None:
            raise Refusal(404, 40410000, f"order not found for {order_id}")
        if order["status"] not in OPEN_STATUSES:
            raise Refusal(422, UNPROCESSABLE, f'order is already in "{order["status"]}" state')
        return order

    def _open_order(self, order_id: str) -> Row | None:
        order = self.state.order(order_id)
        return order if order is not None and order["status"] in OPEN_STATUSES else None

    def _fill_at_last(self, order: Row, moment: Moment) -> None:
        """A fill that was under way when the cancel came, at the order's own price."""
        quote = self.market.quote(order["symbol"], moment)
        seen = (quote.ask if order["side"] == "buy" else quote.bid) if quote else None
        price = order["limit_price"] or order["stop_price"] or seen
        if price:
            self._fill(order, order["qty"] - order["filled_qty"], price, stamp(self.now()))
        else:
            self._end(order["id"], "canceled")

    def _store(self, ticket: Ticket, at: str) -> Row:
        order_id = str(uuid.uuid4())
        self.state.run(
            "INSERT INTO orders (id, client_order_id, symbol, side, kind, time_in_force, qty, limit_price, stop_price, opens, "
            "reserve, status, submitted_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending_new', ?, ?)",
            (
                order_id,
                ticket.client_order_id,
                ticket.symbol,
                ticket.side,
                ticket.kind,
                ticket.time_in_force,
                ticket.qty,
                ticket.limit_price,
                ticket.stop_price,
                ticket.opens,
                ticket.reserve,
                at,
                at,
            ),
        )
        row = self.state.order(order_id)
        assert row is not None
        return row

    def _meet_auction(self, order: Row, moment: Moment) -> None:
        """Fill an order at the opening auction where the open is within its limit; else it is over."""
        bar = self.market.bar(order["symbol"], moment.session)
        side, limit = 1.0 if order["side"] == "buy" else -1.0, order["limit_price"]
        if bar is not None and (limit is None or side * (billionths(bar.open) - billionths(limit)) <= 0.0):
            price = bar.open * (1.0 + side * self.market.slip)
            rest, share = order["qty"] - order["filled_qty"], min(self.strictness.auction_share, 1.0)
            qty = rest if share == 1.0 else rest * share if self.terms.fractional else float(math.floor(rest * share))
            if qty > 0.0:
                self._fill(order, qty, price, stamp(self.now()))
        self._end(order["id"], "expired")

    def _meet_quote(self, order: Row, moment: Moment, fill_share: float) -> None:
        """Fill a marketable order at the quote; one that may wait takes its limit where the open lies within it."""
        quote = self.market.quote(order["symbol"], moment)
        if quote is None or order["kind"] == "stop" or order["time_in_force"] == "opg":
            return
        is_buy = order["side"] == "buy"
        price = quote.ask if is_buy else quote.bid
        if price <= 0.0:
            return
        limit = order["limit_price"]
        if limit is not None and (price - limit if is_buy else limit - price) > ON_TICK * tick_size(limit):
            side, last = 1.0 if is_buy else -1.0, self.market.price(order["symbol"], moment)
            is_within = last is not None and side * (billionths(last) - billionths(limit)) <= 0.0
            if order["time_in_force"] == "ioc" or not is_within:
                return
            price = limit
        qty = (order["qty"] - order["filled_qty"]) * fill_share
        if fill_share < 1.0 and not self.terms.fractional:
            qty = float(math.floor(qty))
        if qty > 0.0:
            self._fill(order, qty, price, stamp(self.now()))

    def _meet_bar(self, order: Row, bar: Bar) -> None:
        """Trigger a stop, or fill a resting limit, inside the bar; a touch fills no limit (rules, section 4.2)."""
        slip = self.market.slip
        is_buy = order["side"] == "buy"
        stop, limit = order["stop_price"], order["limit_price"]
        price = None
        if stop is not None:
            if is_buy and bar.high >= stop:
                price = max(bar.open, stop) * (1.0 + slip)
            elif not is_buy and bar.low <= stop:
                price = min(bar.open, stop) * (1.0 - slip)
        elif limit is not None:
            side, best = (1.0, bar.low) if is_buy else (-1.0, bar.high)
            if side * (billionths(best) - billionths(limit)) < 0.0:
                price = limit
        if price is not None:
            self._fill_in_bar(order, price, bar.session)

    def _meet_close(self, order: Row, bar: Bar) -> None:
        """Trigger a stop that was set after its position had filled in the bar, where the close lies beyond it: what came
        first in the bar is unknown, so the stop's own price is what it gets (rules, section 4.4).
        """
        side, stop = 1.0 if order["side"] == "sell" else -1.0, order["stop_price"]
        if stop is not None and side * (bar.close - stop) < 0.0:
            self._fill_in_bar(order, stop * (1.0 - side * self.market.slip), bar.session)

    def _is_doubted(self, order: Row, bar: Bar) -> bool:
        """Whether the bar brings a profit that may not be had: then the position leaves at its mark, not by its stop."""
        if (order["symbol"], bar.session) not in self.market.suspect:
            return False
        entry = self.state.row(
            "SELECT filled_avg_price AS price FROM orders"
            " WHERE symbol = ? AND opens = 1 AND filled_qty > 0 AND substr(filled_at, 1, 10) = ?",
            (order["symbol"], bar.session.isoformat()),
        )
        mark = entry["price"] if entry else self.market.close_before(order["symbol"], bar.session)
        side = 1.0 if order["side"] == "sell" else -1.0
        return mark is not None and side * (bar.close - mark) > 0.0

    def _fill_in_bar(self, order: Row, price: float, session: dt.date) -> None:
        self._fill(order, order["qty"] - order["filled_qty"], price, stamp(self.market.within_bar(session)))

    def _fill(self, order: Row, qty: float, price: float, at: str) -> None:
        """Book an execution and what it costs: the fees of the order so far, less those that it was charged before."""
        after = self.state.book_fill(order, qty, price, at)
        session, is_sale = self.state.moment().session, order["side"] == "sell"
        fees = [
            self.terms.billing.of_order(is_sale, row["filled_qty"], row["filled_avg_price"] or 0.0, session)
            for row in (order, after)
        ]
        if fees[1] > fees[0]:
            self.state.move_cash("FEE", fees[0] - fees[1], at, "commission and regulatory fees", order["symbol"], qty, 0.0)

    def _end(self, order_id: str, status: str) -> None:
        if self._open_order(order_id) is not None:
            self.state.end_order(order_id, status, stamp(self.now()))

    def _tick(self, moment: Moment) -> str:
        """A microsecond passes, so that no two orders share a time; the time then."""
        later = moment._replace(ticks=moment.ticks + 1)
        self.state.set_moment(later)
        return stamp(self.market.instant(later))
