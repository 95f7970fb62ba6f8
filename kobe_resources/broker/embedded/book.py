"""The embedded broker's book: takes orders, matches them against stored bars as the clock moves on, splits shares.

The order of things within a session is that of rules.md, section 4: orders at the open meet the opening quote; stops trigger
in the bar; orders at the close meet the closing quote. Fills are not rounded to cents: a replay must equal a simulation.
"""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Mapping
from typing import Any

from kobe_resources.broker.embedded.bars import Bar
from kobe_resources.broker.embedded.entry_rules import ON_TICK, Refusal, Ticket, check_order, tick_size
from kobe_resources.broker.embedded.market import Market, Moment, Phase, Terms
from kobe_resources.broker.embedded.state import OPEN_STATUSES, Row, State
from kobe_resources.errors import UsageError


class Book:
    """One account's orders and positions over `market`."""

    def __init__(self, state: State, market: Market, terms: Terms) -> None:
        self.state = state
        self.market = market
        self.terms = terms

    def now(self) -> dt.datetime:
        """The simulated time."""
        return self.market.instant(self.state.moment())

    def submit(self, fields: Mapping[str, Any], fill_share: float = 1.0) -> Row:
        """Take an order and match it at once against the quote; the row as stored. Raises Refusal.

        fill_share: the part of it that the market is willing to fill now.
        """
        with self.state.transaction():
            moment = self.state.moment()
            ticket = check_order(fields, self.state, self.market, self.terms, moment)
            order = self._store(ticket, self._tick(moment))
            if moment.is_open:
                self._meet_quote(order, moment, fill_share)
            if ticket.time_in_force == "ioc":
                self._end(order["id"], "canceled")
            stored = self.state.order(order["id"])
        assert stored is not None
        return stored

    def cancel(self, order_id: str) -> None:
        """Cancel an open order. Raises Refusal."""
        with self.state.transaction():
            order = self.state.order(order_id)
            if order is None:
                raise Refusal(404, 40410000, f"order not found for {order_id}")
            if order["status"] not in OPEN_STATUSES:
                raise Refusal(422, 42210000, f'order is already in "{order["status"]}" state')
            self._tick(self.state.moment())
            self._end(order_id, "canceled")

    def advance_to(self, session: dt.date, phase: Phase) -> None:
        """Let time pass to `phase` of `session`, through every session between; standing there already is no error.

        All of it or nothing is kept. Raises UsageError for a session without stored hours, or one that has passed: only a
        broker that never had an order may go back.
        """
        target = Moment(session, phase)
        self.market.day(session)
        with self.state.transaction():
            moment = self.state.moment()
            if self.state.row("SELECT 1 FROM orders") is None:
                self.state.set_moment(target if moment.order != target.order else moment)
                return
            if moment.order > target.order:
                raise UsageError(
                    f"the embedded broker stands at {moment.session} {moment.phase}, later than {session} {phase}",
                    f"choose a later session, or remove {self.state.folder} to start afresh",
                )
            while moment.order < target.order:
                idle = not (self.state.open_orders() or self.state.positions())
                moment = target if idle else self._step(moment)
                self.state.set_moment(moment)

    def _step(self, moment: Moment) -> Moment:
        """One phase on, with what happens on the way."""
        following = self.market.step_after(moment)
        if following.phase == "pre_open":
            for split in self.market.bars.splits(moment.session, following.session):
                self.state.split(split.symbol, split.ratio)
        elif following.phase == "open":
            self.state.set_moment(following)
            for order in self.state.open_orders():
                self._meet_quote(order, following, 1.0)
        elif following.phase == "close":
            for order in self.state.open_orders():
                bar = self.market.bars.bar(order["symbol"], moment.session)
                if bar is not None:
                    self._meet_bar(order, bar)
        else:
            self.state.set_moment(following)
            for order in self.state.open_orders():
                if order["time_in_force"] == "day":
                    self._end(order["id"], "expired")
        return following

    def _store(self, ticket: Ticket, at: str) -> Row:
        order_id = str(uuid.uuid4())
        self.state.run(
            "INSERT INTO orders (id, client_order_id, symbol, side, kind, time_in_force, qty, limit_price, stop_price, opens, "
            "status, submitted_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'new', ?, ?)",
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
                at,
                at,
            ),
        )
        row = self.state.order(order_id)
        assert row is not None
        return row

    def _meet_quote(self, order: Row, moment: Moment, fill_share: float) -> None:
        """Fill a marketable order at the quote."""
        quote = self.market.quote(order["symbol"], moment)
        if quote is None or order["kind"] == "stop":
            return
        is_buy = order["side"] == "buy"
        price = quote.ask if is_buy else quote.bid
        limit = order["limit_price"]
        if limit is not None and (price - limit if is_buy else limit - price) > ON_TICK * tick_size(limit):
            return
        qty = (order["qty"] - order["filled_qty"]) * fill_share
        if fill_share < 1.0 and not self.terms.fractional:
            qty = float(math.floor(qty))
        if qty > 0.0:
            self.state.book_fill(order, qty, price, stamp(self.now()))

    def _meet_bar(self, order: Row, bar: Bar) -> None:
        """Trigger a stop, or fill a resting limit, inside the bar."""
        slip = self.market.slip
        is_buy = order["side"] == "buy"
        stop, limit = order["stop_price"], order["limit_price"]
        price = None
        if stop is not None:
            if is_buy and bar.high >= stop:
                price = max(bar.open, stop) * (1.0 + slip)
            elif not is_buy and bar.low <= stop:
                price = min(bar.open, stop) * (1.0 - slip)
        elif limit is not None and (bar.low <= limit if is_buy else bar.high >= limit):
            price = limit
        if price is not None:
            at = stamp(self.market.within_bar(bar.session))
            self.state.book_fill(order, order["qty"] - order["filled_qty"], price, at)

    def _end(self, order_id: str, status: str) -> None:
        order = self.state.order(order_id)
        if order is not None and order["status"] in OPEN_STATUSES:
            self.state.end_order(order_id, status, stamp(self.now()))

    def _tick(self, moment: Moment) -> str:
        """A microsecond passes, so that no two orders share a time; the time then."""
        later = moment._replace(ticks=moment.ticks + 1)
        self.state.set_moment(later)
        return stamp(self.market.instant(later))


def stamp(moment: dt.datetime) -> str:
    """A time as Alpaca writes it: nine digits and a Z; sorts as text."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"
