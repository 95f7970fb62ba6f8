"""Rules section 4, step by step in its own order: one portfolio, its strategies, sessions start..end.

Readings
- The first session of the window may trade the signals of the session before it, although that lies outside the window.
- "Held at the close before d": a position that step 4 or 6 closed at that close is no longer held; one flagged and closed at
  d's open was.
- The cash test compares with the cash after step 1; a short's proceeds of the same open do not widen it, nor do fees of this
  open narrow it.
- Fractional quantity is N / limit; the 1e-9 belongs to the floor.
- Tick size goes by the price before rounding. The stop is rounded with the factor of the entry bar.
- A position's step 4 needs a bar at d. A position stopped in its entry bar has bars_held 0; an exit at the open adds no bar.
- window_end: exit_session is the last session of the window, though the last close may be older.
- A symbol has one listing at a time, so that a position is told by its symbol.
- Orders and refusals are counted at the session that would have filled them.
- Step 4.2 compares prices as traded to a billionth of a dollar, since adjusting and back costs the last bits.
- A limit entry has no quote before it is sent: `gap_too_wide` does not ask about it.
- Below a NaN or absent time stop nothing is counted; an absent stop is never reached.
- A suspect exit adds no bar, as a stop does not; its shares are of the bar's own factor.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from typing import Any

from tests.support.reference.market import symbol_of

TOLERANCE = 1e-9
LATE = 10
SEC = (
    ("2020-02-18", 22.10), ("2021-02-25", 5.10), ("2022-05-14", 22.90), ("2023-02-27", 8.00), ("2024-05-22", 27.80),
    ("2025-05-14", 0.0), ("2026-04-04", 20.60),
)  # fmt: skip
TAF = (
    ("2024-01-01", 0.000166, 8.30),
    ("2026-01-01", 0.000195, 9.79),
    ("2026-10-01", 0.0, 9.79),
    ("2027-01-01", 0.000195, 9.79),
)


def to_tick(price: float, up: bool) -> float:
    per_dollar = 100 if price >= 1 else 10_000
    ticks = price * per_dollar
    nearest = round(ticks)
    if abs(ticks - nearest) < 1e-6:
        return nearest / per_dollar
    return (math.ceil(ticks) if up else math.floor(ticks)) / per_dollar


def in_force(table: tuple[Any, ...], day: dt.date) -> tuple[Any, ...]:
    """The last row that has begun, before all of them the first."""
    begun = [row for row in table if dt.date.fromisoformat(row[0]) <= day]
    return begun[-1] if begun else table[0]


def fees_of(p: dict[str, Any], day: dt.date, is_sale: bool, qty: float, price: float) -> float:
    """Dollars of one fill, shares and price as traded."""
    fees = max(p["commission_per_order"] + p["commission_per_share"] * qty, p["commission_minimum"])
    if is_sale and p["regulatory_fees"]:
        _, rate, cap = in_force(TAF, day)
        fees += in_force(SEC, day)[1] / 1e6 * qty * price + min(rate * qty, cap)
    return fees


def limit_of(p: dict[str, Any], own: dict[str, Any], order: dict[str, Any]) -> float:
    """The limit as traded of an order: side, fill (at the open), close and limit_distance, all as traded."""
    is_long = order["side"] == "long"
    if own["limit_atr"] is not None:
        return to_tick(order["close"] - (1 if is_long else -1) * order["limit_distance"], up=not is_long)
    base, bps = (order["close"], p["open_limit_bps"]) if p["entry"] == "opg" else (order["fill"], p["limit_offset_bps"])
    return to_tick(base * (1 + bps / 10_000 if is_long else 1 - bps / 10_000), up=is_long)


def size_of(p: dict[str, Any], own: dict[str, Any], limit: float, stop_distance: float | None, equity: float) -> float:
    """Shares as traded that an order asks for."""
    w = own["weight"]
    dollars = w * p["order_notional"] if p["mode"] == "fixed" else w * p["fraction"] * equity
    if p["mode"] == "risk":
        assert stop_distance is not None
        dollars = limit * w * p["fraction"] * equity / stop_distance
    return float(math.floor(dollars / limit + 1e-9)) if p["whole_shares"] else dollars / limit


def beyond(value: float, budget: float | None) -> bool:
    return budget is not None and value > budget * (1 + TOLERANCE)


def judge(p: dict[str, Any], own: dict[str, Any], order: dict[str, Any], account: dict[str, Any]) -> tuple[Any, ...]:
    """(the first reason that refuses the order or None, qty, notional, limit) for a signal with a bar and no position.

    account: equity, positions, spent, gross and cash.
    """
    if p["mode"] == "risk" and not (order["stop_distance"] is not None and order["stop_distance"] > 0):
        return "no_stop", 0.0, 0.0, 0.0
    limit, equity = limit_of(p, own, order), account["equity"]
    if limit < p["min_price"] or limit > p["max_price"]:
        return "price_out_of_bounds", 0.0, 0.0, limit
    is_quote = p["entry"] == "ioc" and own["limit_atr"] is None
    if is_quote and p["max_gap"] is not None and beyond(abs(order["fill"] - order["close"]), p["max_gap"] * order["close"]):
        return "gap_too_wide", 0.0, 0.0, limit
    if order["side"] == "short" and not p["allow_shorts"]:
        return "shorts_disabled", 0.0, 0.0, limit
    qty = size_of(p, own, limit, order["stop_distance"], equity)
    notional = qty * limit
    if qty == 0:
        return "below_one_share", 0.0, 0.0, limit

    def share(name: str) -> float | None:
        return None if p[name] is None else p[name] * equity

    wanted = account["spent"] + notional
    if beyond(notional, p["max_notional_per_order"]) or beyond(notional, share("max_order_fraction")):
        return "exceeds_order_budget", 0.0, 0.0, limit
    if p["max_positions"] is not None and account["positions"] >= p["max_positions"]:
        return "too_many_positions", 0.0, 0.0, limit
    if beyond(wanted, p["max_daily_notional"]) or beyond(wanted, share("max_daily_fraction")):
        return "exceeds_daily_budget", 0.0, 0.0, limit
    if beyond(account["gross"] + wanted, share("max_gross_exposure")):
        return "exceeds_exposure", 0.0, 0.0, limit
    if beyond(wanted, account["cash"]):
        return "insufficient_cash", 0.0, 0.0, limit
    return None, qty, notional, limit


def met(p: dict[str, Any], own: dict[str, Any], side: str, bar: dict[str, Any], limit: float) -> tuple[Any, ...]:
    """(reason the market gives or None, fill in adjusted dollars, was it after the open) of an accepted order."""
    slip, factor = p["slippage_bps"] / 10_000, bar["factor"]
    is_long = side == "long"
    at_open = bar["open"] * (1 + slip if is_long else 1 - slip)

    def cents(price: float) -> int:
        return round(price * 1e9)

    opened, bound = cents(bar["open"] / factor), cents(limit)
    is_better = opened <= bound if is_long else opened >= bound
    if own["limit_atr"] is None:
        return (None if p["entry"] == "ioc" or is_better else "beyond_limit"), at_open, False
    if is_better:
        return None, min(at_open, limit * factor) if is_long else max(at_open, limit * factor), False
    reached = cents(bar["low"] / factor) < bound if is_long else cents(bar["high"] / factor) > bound
    return (None if reached else "not_reached"), limit * factor, True


class Portfolio:
    """Cash, open positions and closed trades; the arithmetic of one fill lives here once."""

    def __init__(self, p: dict[str, Any]) -> None:
        self.p = p
        self.cash = p["initial_cash"]
        self.slip = p["slippage_bps"] / 10_000
        self.positions: dict[str, dict[str, Any]] = {}
        self.trades: list[dict[str, Any]] = []

    def close(self, symbol: str, session: Any, price: float, factor: float, reason: str) -> None:
        """Leave at `price` before slippage."""
        held = self.positions.pop(symbol)
        is_long = held["side"] == "long"
        fill = price * (1 - self.slip if is_long else 1 + self.slip)
        held["fees"] += (fees := fees_of(self.p, session, is_long, held["shares"] * factor, fill / factor))
        self.cash += held["shares"] * fill * (1 if is_long else -1) - fees
        gain = held["shares"] * (fill - held["entry_price"]) * (1 if is_long else -1)
        trade = {key: held[key] for key in held if key not in ("stop", "flag", "part", "mark", "factor", "is_late")}
        pnl = gain + held["dividends"] - held["fees"]
        self.trades.append(trade | {"exit_session": session, "exit_price": fill, "exit_reason": reason, "pnl": pnl})

    def worth(self) -> tuple[float, float]:
        """(equity, gross) at the marks."""
        values = [(held["side"], held["shares"] * held["mark"]) for held in self.positions.values()]
        net = self.cash + sum(value if side == "long" else -value for side, value in values)
        return net, sum(value for _, value in values)


def simulate(
    market: dict[str, Any],
    indicators: dict[str, dict[str, list[Any]]],
    signals: dict[Any, list[dict[str, Any]]],
    strategy: str,
    p: dict[str, Any],
    start: Any,
    end: Any,
    released: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Trades, equity [(session, dollars)], exposure [share of equity], refused {reason: count} and the final cash."""
    return simulate_book(market, indicators, [(strategy, p, signals)], p, start, end, released)


Part = tuple[str, dict[str, Any], dict[Any, list[dict[str, Any]]]]


def interleaved(parts: list[Part], session: Any) -> list[tuple[int, dict[str, Any]]]:
    """(part, signal): each part's best of the session first, in the order listed, then each one's second, and so on."""
    lists = [signals.get(session, []) for _, _, signals in parts]
    depth = max((len(own) for own in lists), default=0)
    return [(k, own[rank]) for rank in range(depth) for k, own in enumerate(lists) if rank < len(own)]


def simulate_book(
    market: dict[str, Any],
    indicators: dict[str, dict[str, list[Any]]],
    parts: list[Part],
    p: dict[str, Any],
    start: Any,
    end: Any,
    released: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """The same for several strategies in one account. parts: (strategy, its parameters, its signals); p: the account's."""
    slip = p["slippage_bps"] / 10_000
    sessions = market["sessions"]
    window = [d for d in sessions if start <= d <= end]
    place_of = {d: index for index, d in enumerate(sessions)}
    at: dict[Any, dict[str, tuple[str, int]]] = {}
    for listing, bars in market["bars"].items():
        symbol = symbol_of(listing)
        for i, bar in enumerate(bars):
            if start <= bar["session"] <= end:
                at.setdefault(bar["session"], {})[symbol] = listing, i
    book = Portfolio(p)
    refused: Counter[str] = Counter()
    equity: list[tuple[Any, float]] = []
    exposure: list[float] = []
    ruined = False
    worth = p["initial_cash"]

    for d in window:
        if ruined:
            equity.append((d, worth))
            exposure.append(0.0)
            continue
        today = {symbol: market["bars"][listing][i] for symbol, (listing, i) in at[d].items()}
        held_before = set(book.positions)
        index = place_of[d]

        # 1. dividends, then exits at the open
        for symbol in sorted(book.positions):
            held = book.positions[symbol]
            if symbol not in today:
                continue
            bar = today[symbol]
            received = (1 if held["side"] == "long" else -1) * held["shares"] * bar["factor"] * bar.get("dividend", 0.0)
            held["dividends"] += received
            book.cash += received
            held["factor"] = bar["factor"]
            if held["flag"]:
                book.close(symbol, d, bar["open"], bar["factor"], held["flag"])

        # 2. entries at the open
        cash_after_exits = book.cash
        account = {"equity": worth, "spent": 0.0, "cash": cash_after_exits, "positions": len(book.positions)}
        account["gross"] = sum(held["shares"] * held["mark"] for held in book.positions.values())
        ordered: set[str] = set()
        for k, signal in interleaved(parts, sessions[index - 1]) if index > 0 else []:
            name, own, _ = parts[k]
            symbol, side = signal["symbol"], signal["side"]
            if symbol in held_before or symbol in ordered:
                refused["already_open"] += 1
                continue
            if symbol not in today:
                refused["no_bar"] += 1
                continue
            bar = today[symbol]
            factor, sign = bar["factor"], 1 if side == "long" else -1
            distance = signal["stop_distance"]
            order = {
                "side": side,
                "fill": bar["open"] * (1 + sign * slip) / factor,
                "close": signal["close"] / factor,
                "limit_distance": own["limit_atr"] * signal["atr14"] / factor if own["limit_atr"] else 0.0,
                "stop_distance": None if distance is None else distance / factor,
            }
            reason, qty, notional, limit = judge(p, own, order, account)
            if reason:
                refused[reason] += 1
                continue
            account["spent"] += notional
            account["positions"] += 1
            ordered.add(symbol)
            reason, fill, is_late = met(p, own, side, bar, limit)
            if reason:
                refused[reason] += 1
                continue
            fees = fees_of(p, d, side == "short", qty, fill / factor)
            book.cash -= sign * qty * (fill / factor) + fees
            stop = None if distance is None else to_tick((fill - sign * distance) / factor, up=side == "short") * factor
            book.positions[symbol] = {
                "symbol": symbol,
                "side": side,
                "entered_by": name,
                "signal_session": signal["session"],
                "entry_session": d,
                "entry_price": fill,
                "shares": qty / factor,
                "qty": qty,
                "fees": fees,
                "dividends": 0.0,
                "bars_held": 0,
                "stop": stop,
                "flag": None,
                "part": k,
                "mark": fill,
                "factor": factor,
                "is_late": is_late,
            }

        for symbol in sorted(book.positions):
            if symbol not in today:
                continue
            held, bar = book.positions[symbol], today[symbol]
            listing, place = at[d][symbol]
            is_long, stop = held["side"] == "long", held["stop"]
            gained = bar["close"] - held["mark"] if is_long else held["mark"] - bar["close"]
            # 3. no profit from a suspect bar
            if indicators[listing]["suspect"][place] and symbol not in released and gained > 0:
                book.close(symbol, d, held["mark"], bar["factor"], "suspect")
                continue
            # 4. protective stop
            if stop is not None:
                if held["is_late"] and held["entry_session"] == d:
                    out = stop if (bar["close"] < stop if is_long else bar["close"] > stop) else None
                elif is_long:
                    out = min(bar["open"], stop) if bar["low"] <= stop else None
                else:
                    out = max(bar["open"], stop) if bar["high"] >= stop else None
                if out is not None:
                    book.close(symbol, d, out, bar["factor"], "stop")
                    continue
            # 5. close of the bar
            name, own, _ = parts[held["part"]]
            held["mark"] = bar["close"]
            held["bars_held"] += 1
            read = place - p["indicator_lag_bars"]
            rsi = indicators[listing]["rsi2"][read] if read >= 0 else None
            wants_out = rsi is not None and (rsi >= own["rsi_exit"] if is_long else rsi <= 100 - own["rsi_exit"])
            if name in ("rsi2", "rsi2_ibs") and wants_out:
                held["flag"] = "rsi_exit"
            if held["flag"] is None and own["time_stop"] is not None and held["bars_held"] >= own["time_stop"]:
                held["flag"] = "time_stop"
            # 6. the listing's last bar of all, while the market goes on
            if market["bars"][listing][-1]["session"] == d and len(sessions) - 1 - index > LATE:
                book.close(symbol, d, bar["close"], bar["factor"], "delisted")

        # 7. the end of the window
        if d == window[-1]:
            for symbol in sorted(book.positions):
                book.close(symbol, d, book.positions[symbol]["mark"], book.positions[symbol]["factor"], "window_end")

        # 8. borrowing
        nights = (sessions[index + 1] - d).days if index + 1 < len(sessions) else 0
        for held in book.positions.values():
            if held["side"] == "short":
                owed = p["borrow_rate"] * held["shares"] * held["mark"] * nights / 360
                held["fees"] += owed
                book.cash -= owed

        # 9. equity, and ruin
        worth, gross = book.worth()
        if worth <= 0:
            for symbol in sorted(book.positions):
                book.close(symbol, d, book.positions[symbol]["mark"], book.positions[symbol]["factor"], "ruin")
            ruined, worth, gross = True, book.cash, 0.0
        equity.append((d, worth))
        exposure.append(gross / worth if worth > 0 else 0.0)

    trades = sorted(book.trades, key=lambda t: (t["entry_session"], t["symbol"]))
    return {"trades": trades, "equity": equity, "exposure": exposure, "refused": dict(refused), "cash": book.cash}
