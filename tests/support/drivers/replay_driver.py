"""Signals traded through the adapter, HTTP and the embedded broker, session by session: rules.md, section 4, from outside.

Trusts its caller for the market, the indicators and the signals of the plain reference.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from decimal import Decimal
from typing import Any

from kobe_assets.graph.inputs import limits_of
from kobe_resources.broker.alpaca.adapter import AlpacaBroker
from kobe_resources.broker.exchange.embedded import EmbeddedBroker
from kobe_resources.broker.protocol import BrokerOrder, OrderRequest, Side
from kobe_resources.broker.quotes import exit_limit, stop_price
from kobe_resources.policy_gate import AT_QUOTE, REASONS, Proposal, Standing, decide_entry
from tests.support.drivers.product import settings_of


class Driver:
    """Trades the signals through the broker as rules.md, section 4, says."""

    def __init__(
        self, broker: AlpacaBroker, server: EmbeddedBroker, p: dict[str, Any], factors: dict[tuple[str, dt.date], float]
    ) -> None:
        self.broker = broker
        self.server = server
        self.p = p
        self.factors = factors
        self.limits = limits_of(settings_of(p))
        self.offset = p["limit_offset_bps"]
        self.held: dict[str, dict[str, Any]] = {}
        self.trades: list[dict[str, Any]] = []
        self.refused: Counter[str] = Counter()
        self.sent = 0

    def send(self, symbol: str, side: Side, qty: Any, limit: Any) -> BrokerOrder:
        self.sent += 1
        client_id = f"o{self.sent}"
        self.broker.submit(OrderRequest(client_id, symbol, side, qty, "limit", "ioc", limit))
        order = self.broker.order_by_client_id(client_id)
        assert order is not None
        assert order.filled_qty == order.qty, order
        return order

    def leave(self, symbol: str, session: dt.date, reason: str) -> None:
        """Cancel the stop, close the position at the quote."""
        held = self.held[symbol]
        if held["stop_id"]:
            self.broker.cancel(held["stop_id"])
        qty = next(position.qty for position in self.broker.positions() if position.symbol == symbol)
        is_long = qty > 0
        quote = self.broker.quotes([symbol])[symbol]
        order = self.send(symbol, "sell" if is_long else "buy", abs(qty), exit_limit(quote, is_long, self.offset))
        self.book_exit(symbol, session, order, reason)

    def book_exit(self, symbol: str, session: dt.date, order: BrokerOrder, reason: str) -> None:
        held = self.held.pop(symbol)
        assert order.filled_avg_price is not None
        self.trades.append(held | {"exit_session": session, "exit_price": float(order.filled_avg_price), "exit_reason": reason})

    def enter(self, session: dt.date, signals: list[dict[str, Any]]) -> None:
        before = set(self.held) | {trade["symbol"] for trade in self.trades if trade["exit_at_open"] == session}
        cash, spent = float(self.broker.account().cash), 0.0
        quotes = self.broker.quotes([signal["symbol"] for signal in signals]) if signals else {}
        for signal in signals:
            symbol, is_long = signal["symbol"], signal["side"] == "long"
            quote = quotes.get(symbol)
            raw = float(quote.ask if is_long else quote.bid) if quote else 0.0
            taken = symbol in before or symbol in self.held
            factor = self.factors[symbol, signal["entry"]] if quote else 1.0
            close, distance = signal["close"] / factor, signal["stop_distance"] / factor
            order = Proposal(is_long, AT_QUOTE, quote is not None, raw, close, 0.0, distance, 1.0)
            account = Standing(taken, self.p["initial_cash"], len(self.held), spent, 0.0, cash)
            code, qty, _, notional = decide_entry(self.limits, order, account)
            if code:
                self.refused[REASONS[code]] += 1
                continue
            assert quote is not None
            spent += notional
            limit = exit_limit(quote, not is_long, self.offset)
            order = self.send(symbol, "buy" if is_long else "sell", Decimal(repr(qty)), limit)
            self.held[symbol] = {
                **{"symbol": symbol, "side": signal["side"], "signal_session": signal["session"], "entry_session": session},
                **{
                    "entry_price": float(order.filled_avg_price or 0),
                    "qty": qty,
                    "bars_held": 0,
                    "flag": None,
                    "exit_at_open": None,
                },
                "stop_id": self.protect(symbol, is_long, order, signal),
            }

    def protect(self, symbol: str, is_long: bool, order: BrokerOrder, signal: dict[str, Any]) -> str | None:
        distance = signal["stop_distance"] / self.factors[symbol, signal["entry"]]
        stop = stop_price(float(order.filled_avg_price or 0), distance, is_long)
        if stop <= 0:
            return None
        side: Side = "sell" if is_long else "buy"
        request = OrderRequest(f"stop-{order.client_order_id}", symbol, side, order.qty, "stop", "gtc", stop_price=stop)
        return self.broker.submit(request).id

    def stops(self, session: dt.date) -> None:
        """Book the stops that triggered in the bar."""
        orders = {order.id: order for order in self.broker.orders("closed")}
        for symbol, held in sorted(self.held.items()):
            order = orders.get(held["stop_id"])
            if order is not None and order.filled_qty:
                self.book_exit(symbol, session, order, "stop")


def replay(
    driver: Driver, market: dict[str, Any], indicators: Any, signals: Any, strategy: str, window: list[dt.date]
) -> list[float]:
    """Drive `window`; the equity of every session."""
    p, sessions = driver.p, market["sessions"]
    at = {symbol: {bar["session"]: i for i, bar in enumerate(bars)} for symbol, bars in market["bars"].items()}
    equity = []
    for d in window:
        driver.server.advance_to(d, "open")
        for symbol in sorted(driver.held):
            if driver.held[symbol]["flag"] and d in at[symbol]:
                driver.held[symbol]["exit_at_open"] = d
                driver.leave(symbol, d, driver.held[symbol]["flag"])
        yesterday = sessions[sessions.index(d) - 1]
        driver.enter(d, [signal | {"entry": d} for signal in signals.get(yesterday, [])])
        driver.server.advance_to(d, "close")
        driver.stops(d)
        for symbol, held in driver.held.items():
            if d not in at[symbol]:
                continue
            held["bars_held"] += 1
            rsi = indicators[symbol]["rsi2"][at[symbol][d] - p["indicator_lag_bars"]]
            if strategy != "ibs" and rsi is not None:
                beyond = rsi >= p["rsi_exit"] if held["side"] == "long" else rsi <= 100 - p["rsi_exit"]
                held["flag"] = "rsi_exit" if beyond else held["flag"]
            if held["flag"] is None and held["bars_held"] >= p["time_stop"]:
                held["flag"] = "time_stop"
        for symbol in sorted(driver.held):
            if market["bars"][symbol][-1]["session"] == d and d < sessions[-1]:
                driver.leave(symbol, d, "delisted")
        for symbol in sorted(driver.held) if d == window[-1] else ():
            driver.leave(symbol, d, "window_end")
        equity.append(float(driver.broker.account().equity))
    return equity
