"""A trace in six lines: signal, reading, quote, gate, fill, result; numbers as a trader reads them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any

from kobe_assets.report.analysis.metrics_glossary import minus, show
from kobe_jobs.trading.reporting.order_rows import STATE_WORDS
from kobe_resources.order_ledger import LedgerOrder, OrderState, Position
from kobe_resources.order_ledger import orders as book

READINGS = (("rsi2", "RSI(2)", "{:.1f}"), ("ibs", "IBS", "{:.2f}"))
PRICE_READINGS = (("sma200", "its 200-day average"), ("atr14", "ATR"))


def prose_of_order(
    origin: LedgerOrder,
    held: Position | None,
    orders: Sequence[LedgerOrder],
    opened: float | None,
    bars: int,
    declared: Collection[str] | None = None,
) -> list[str]:
    """The six lines of an order and its position.

    opened: the open of the entry's session, None where no bar is stored. bars: how many the position has seen. declared: the
    indicators of its strategy, None where that is gone: every signal carries the four usual ones, read or not.
    """
    entry = origin if origin.purpose == book.ENTRY else None
    return [
        _signal(origin),
        _reading(origin.decision.get("signal") or {}, declared),
        _quote(origin),
        _gate(origin),
        _fill(entry or origin, opened),
        _result(held, orders, bars),
    ]


def prose_of_simulated(
    trade: Mapping[str, Any], signal: Mapping[str, Any] | None, declared: Collection[str] | None = None
) -> list[str]:
    """The six lines of a simulated trade. declared: as of `prose_of_order`."""
    side = "buy" if trade["side"] == "long" else "sell short"
    gain, worth = float(trade["pnl"]), float(trade["shares"]) * float(trade["entry_price"])
    share = f", {show(gain / worth, 'change')}" if worth else ""
    # What was worth so much in so many shares as traded; prices are stored adjusted for later splits.
    traded = worth / float(trade["qty"]) if trade["qty"] else float(trade["entry_price"])
    is_split = abs(traded - float(trade["entry_price"])) > 1e-9 * traded
    adjusted = f", {_money(trade['entry_price'])} adjusted for later splits" if is_split else ""
    return [
        f"Signal: {trade['entered_by']} said {side} {trade['symbol']} at the close of {trade['signal_session']}.",
        _reading(_with_own(signal or {}), declared),
        f"Quote: simulated, so the open of {trade['entry_session']} with the slippage of the settings.",
        f"Gate: let {_shares(trade['qty'])} shares through.",
        f"Fill: {_shares(trade['qty'])} shares at {_money(traded)} on {trade['entry_session']}{adjusted}.",
        f"Result: left on {trade['exit_session']} at {_money(trade['exit_price'])}{' adjusted' if is_split else ''}"
        f" ({_words(trade['exit_reason'])}) after"
        f" {_bars(trade['bars_held'])}: {_gain(gain)}{share}.",
    ]


def _signal(order: LedgerOrder) -> str:
    if order.purpose == book.ENTRY:
        side = "buy" if order.side == "buy" else "sell short"
        rank = f", number {order.rank} of the day" if order.rank else ""
        return f"Signal: {order.strategy} said {side} {order.symbol} at the close of {order.signal_session}{rank}."
    return f"Signal: {order.strategy} held {order.symbol}, and {_words(order.reason)} was its reason to {order.side}."


def _with_own(signal: Mapping[str, Any]) -> dict[str, Any]:
    """A stored signal with the indicators of its strategy's own beside the usual ones, as a decision on record has them."""
    own = signal.get("values")
    return {**signal, **(json.loads(own) if isinstance(own, str) else own or {})}


def _reading(values: Mapping[str, Any], declared: Collection[str] | None) -> str:
    """What the strategy read; prices, which are stored adjusted, in dollars as traded on the day of the signal."""
    usual = {key for key, *_ in (*READINGS, *PRICE_READINGS)}
    if declared is not None:
        values = {name: value for name, value in values.items() if name not in usual or name in declared}
    close, raw = values.get("close"), values.get("raw_close")
    as_traded = float(raw) / float(close) if raw and close else 1.0
    parts = [f"close {_money(raw or close)}"] if raw or close else []
    parts += [f"{name} {form.format(float(values[key]))}" for key, name, form in READINGS if values.get(key) is not None]
    parts += [f"{name} {_money(float(values[key]) * as_traded)}" for key, name in PRICE_READINGS if values.get(key) is not None]
    named = {"score", "close", "raw_close", "stop_distance", *usual}
    own = {name: value for name, value in values.items() if name not in named and isinstance(value, int | float)}
    parts += [f"{_words(name)} {value:.4g}" for name, value in own.items()]
    if own and as_traded != 1.0:
        parts[-1] += " (the strategy's own by prices adjusted for later splits)"
    return f"Reading: {', '.join(parts)}." if parts else "Reading: nothing is on record."


def _quote(order: LedgerOrder) -> str:
    decision = order.decision
    quote = decision.get("quote")
    if quote is None and "bid" in decision:
        quote = {"bid": decision["bid"], "ask": decision["ask"], "at": decision.get("quoted_at", "")}
    if quote is None:
        return f"Quote: {_why_no_quote(order)}."
    problem = decision.get("quote_veto")
    text = f"Quote: {_money(quote['bid'])} bid, {_money(quote['ask'])} asked{_moment(quote.get('at', ''))}"
    return f"{text}, refused: {_words(problem)}." if problem else f"{text}."


def _why_no_quote(order: LedgerOrder) -> str:
    if order.works_all_day:
        return "none was needed, its limit lies at a distance from the close"
    if order.time_in_force == "opg" or order.purpose == book.STOP:
        return "none was needed"
    is_asked = order.state is not OrderState.DENIED or order.reason == "no_quote"
    return "there was none" if is_asked else "none was asked for"


def _gate(order: LedgerOrder) -> str:
    if order.state is OrderState.DENIED:
        detail = f" ({_words(order.detail)})" if order.detail else ""
        return f"Gate: refused, {_words(order.reason)}{detail}."
    price = order.limit_price or order.stop_price
    at_most = f" at {_money(price)}" + (" or better" if order.limit_price else "") if price else ""
    limits = order.decision.get("limits") or {}
    budget = limits.get("max_daily_notional")
    worth = f", {_money(order.qty * price)}" if price else ""
    used = (
        f" of the {_money(budget)} budget, of which {_money(order.decision.get('spent_before', 0))} was spoken for"
        if budget
        else ""
    )
    return f"Gate: let {_shares(order.qty)} shares through{at_most}{worth}{used}."


def _fill(order: LedgerOrder, opened: float | None) -> str:
    if order.filled_avg_price is None or not order.filled_qty:
        return f"Fill: none; the order is {STATE_WORDS.get(str(order.state), str(order.state).lower())}."
    price = float(order.filled_avg_price)
    dearer = 1.0 if order.side == "buy" else -1.0
    against = (
        f", {minus(f'{dearer * (price / opened - 1) * 1e4:+.1f}')} bps against the open {_money(opened)}" if opened else ""
    )
    return f"Fill: {_shares(order.filled_qty)} of {_shares(order.qty)} shares at {_money(price)}{against}."


def _result(held: Position | None, orders: Sequence[LedgerOrder], seen: int) -> str:
    if held is None:
        return "Result: no position came of it."
    side = 1 if held.side == "long" else -1
    if held.is_open:
        leaving = f"; it leaves at the next open ({_words(held.flag)})" if held.flag else ""
        return (
            f"Result: {_shares(held.qty)} shares are held, {_bars(seen)} by now, with a stop at"
            f" {_money(held.stop_price)}{leaving}."
        )
    price = held.exit_price or Decimal(0)
    gain = side * float(held.exit_value - held.exit_qty * held.entry_price)
    share = side * float(price / held.entry_price - 1) if held.entry_price else 0.0
    tries = sum(order.purpose != book.ENTRY for order in orders)
    return (
        f"Result: left on {held.exit_session} at {_money(price)} ({_words(held.exit_reason)}) after {_bars(seen)}:"
        f" {_gain(gain)}, {show(share, 'change')}; {tries} {'order' if tries == 1 else 'orders'} looked after it."
    )


def _moment(text: Any) -> str:
    try:
        return f" at {dt.datetime.fromisoformat(str(text)):%H:%M:%S} UTC"
    except ValueError:
        return ""


def _money(value: Any) -> str:
    number = float(value)
    return f"${number:,.4f}" if abs(number) < 1 and number else f"${number:,.2f}"


def _bars(count: Any) -> str:
    return f"{int(count)} {'bar' if int(count) == 1 else 'bars'}"


def _gain(value: float) -> str:
    return f"{'+' if value >= 0 else '−'}${abs(value):,.2f}"


def _shares(value: Any) -> str:
    return f"{float(value):,.4f}".rstrip("0").rstrip(".")


def _words(value: Any) -> str:
    return str(value or "no reason").replace("_", " ")
