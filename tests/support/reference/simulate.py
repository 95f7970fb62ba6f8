"""Rules section 4, step by step in its own order: one portfolio, one strategy, sessions start..end.

Readings
- The first session of the window may trade the signals of the session before it, although that lies outside the window.
- "Held at the close before d": a position that step 5 or 6 closed at that close is no longer held; one flagged and closed at
  d's open was.
- The cash test compares with the cash after step 1; a short's proceeds of the same open do not widen it.
- Fractional quantity is order_notional / limit; the 1e-9 belongs to the floor.
- Tick size goes by the price before rounding. The stop is rounded with the factor of the entry bar.
- A position's step 4 needs a bar at d. A position stopped in its entry bar has bars_held 0; an exit at the open adds no bar.
- window_end: exit_session is the last session of the window, though the last close may be older.
- Orders and refusals are counted at the session that would have filled them.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

TOLERANCE = 1e-9


def to_tick(price: float, up: bool) -> float:
    per_dollar = 100 if price >= 1 else 10_000
    ticks = price * per_dollar
    nearest = round(ticks)
    if abs(ticks - nearest) < 1e-6:
        return nearest / per_dollar
    return (math.ceil(ticks) if up else math.floor(ticks)) / per_dollar


def judge(p: dict[str, Any], side: str, raw: float, spent: float, cash: float) -> tuple[str | None, float, float]:
    """(the first reason that refuses the order or None, qty, notional) for a signal with a bar and no position."""
    offset = p["limit_offset_bps"] / 10_000
    limit = to_tick(raw * (1 + offset), up=True) if side == "long" else to_tick(raw * (1 - offset), up=False)
    if limit < p["min_price"] or limit > p["max_price"]:
        return "price_out_of_bounds", 0.0, 0.0
    if side == "short" and not p["allow_shorts"]:
        return "shorts_disabled", 0.0, 0.0
    qty = float(math.floor(p["order_notional"] / limit + 1e-9)) if p["whole_shares"] else p["order_notional"] / limit
    notional = qty * limit
    if qty == 0:
        return "below_one_share", 0.0, 0.0
    if notional > p["max_notional_per_order"] * (1 + TOLERANCE):
        return "exceeds_order_budget", 0.0, 0.0
    if spent + notional > p["max_daily_notional"] * (1 + TOLERANCE):
        return "exceeds_daily_budget", 0.0, 0.0
    if spent + notional > cash * (1 + TOLERANCE):
        return "insufficient_cash", 0.0, 0.0
    return None, qty, notional


class Portfolio:
    """Cash, open positions and closed trades; the arithmetic of one fill lives here once."""

    def __init__(self, cash: float, slip: float) -> None:
        self.cash = cash
        self.slip = slip
        self.positions: dict[str, dict[str, Any]] = {}
        self.trades: list[dict[str, Any]] = []

    def close(self, symbol: str, session: Any, price: float, reason: str) -> None:
        """Leave at `price` before slippage."""
        held = self.positions.pop(symbol)
        if held["side"] == "long":
            fill = price * (1 - self.slip)
            self.cash += held["shares"] * fill
            pnl = held["shares"] * (fill - held["entry_price"])
        else:
            fill = price * (1 + self.slip)
            self.cash -= held["shares"] * fill
            pnl = held["shares"] * (held["entry_price"] - fill)
        trade = {key: held[key] for key in held if key not in ("stop", "flag")}
        self.trades.append(trade | {"exit_session": session, "exit_price": fill, "exit_reason": reason, "pnl": pnl})


def simulate(
    market: dict[str, Any],
    indicators: dict[str, dict[str, list[Any]]],
    signals: dict[Any, list[dict[str, Any]]],
    strategy: str,
    p: dict[str, Any],
    start: Any,
    end: Any,
) -> dict[str, Any]:
    """Trades, equity [(session, dollars)], exposure [share of equity], refused {reason: count} and the final cash."""
    slip = p["slippage_bps"] / 10_000
    sessions = market["sessions"]
    window = [d for d in sessions if start <= d <= end]
    at: dict[Any, dict[str, int]] = {}
    for symbol, bars in market["bars"].items():
        for i, bar in enumerate(bars):
            at.setdefault(bar["session"], {})[symbol] = i
    book = Portfolio(p["initial_cash"], slip)
    refused: Counter[str] = Counter()
    equity: list[tuple[Any, float]] = []
    exposure: list[float] = []
    last_close: dict[str, float] = {}

    for d in window:
        today = {symbol: market["bars"][symbol][i] for symbol, i in at[d].items()}
        last_close |= {symbol: bar["close"] for symbol, bar in today.items()}
        held_before = set(book.positions)

        # 1. exits at the open
        for symbol in sorted(book.positions):
            flag = book.positions[symbol]["flag"]
            if flag and symbol in today:
                book.close(symbol, d, today[symbol]["open"], flag)

        # 2. entries at the open
        cash_after_exits = book.cash
        spent = 0.0
        index = sessions.index(d)
        for signal in signals.get(sessions[index - 1], []) if index > 0 else []:
            symbol, side = signal["symbol"], signal["side"]
            if symbol in held_before or symbol in book.positions:
                refused["already_open"] += 1
                continue
            if symbol not in today:
                refused["no_bar"] += 1
                continue
            bar = today[symbol]
            fill = bar["open"] * (1 + slip if side == "long" else 1 - slip)
            raw = fill / bar["factor"]
            reason, qty, notional = judge(p, side, raw, spent, cash_after_exits)
            if reason:
                refused[reason] += 1
                continue
            spent += notional
            book.cash += -qty * raw if side == "long" else qty * raw
            distance = signal["stop_distance"]
            stop = to_tick((fill - distance if side == "long" else fill + distance) / bar["factor"], up=side == "short")
            book.positions[symbol] = {
                "symbol": symbol,
                "side": side,
                "signal_session": signal["session"],
                "entry_session": d,
                "entry_price": fill,
                "shares": qty / bar["factor"],
                "qty": qty,
                "bars_held": 0,
                "stop": stop * bar["factor"],
                "flag": None,
            }

        # 3. protective stop
        for symbol in sorted(book.positions):
            if symbol not in today:
                continue
            held, bar = book.positions[symbol], today[symbol]
            if held["side"] == "long" and bar["low"] <= held["stop"]:
                book.close(symbol, d, min(bar["open"], held["stop"]), "stop")
            elif held["side"] == "short" and bar["high"] >= held["stop"]:
                book.close(symbol, d, max(bar["open"], held["stop"]), "stop")

        # 4. close of the bar
        for symbol, held in book.positions.items():
            if symbol not in today:
                continue
            held["bars_held"] += 1
            read = at[d][symbol] - p["indicator_lag_bars"]
            rsi = indicators[symbol]["rsi2"][read] if read >= 0 else None
            if strategy in ("rsi2", "rsi2_ibs") and rsi is not None:
                if held["side"] == "long" and rsi >= p["rsi_exit"]:
                    held["flag"] = "rsi_exit"
                if held["side"] == "short" and rsi <= 100 - p["rsi_exit"]:
                    held["flag"] = "rsi_exit"
            if held["flag"] is None and held["bars_held"] >= p["time_stop"]:
                held["flag"] = "time_stop"

        # 5. the symbol's last bar of all, while the market goes on
        for symbol in sorted(book.positions):
            if market["bars"][symbol][-1]["session"] == d and d < sessions[-1]:
                book.close(symbol, d, today[symbol]["close"], "delisted")

        # 6. the end of the window
        if d == window[-1]:
            for symbol in sorted(book.positions):
                book.close(symbol, d, last_close[symbol], "window_end")

        # 7. equity
        value, gross = book.cash, 0.0
        for symbol, held in book.positions.items():
            worth = held["shares"] * last_close[symbol]
            value += worth if held["side"] == "long" else -worth
            gross += worth
        equity.append((d, value))
        exposure.append(gross / value)

    trades = sorted(book.trades, key=lambda t: (t["entry_session"], t["symbol"]))
    return {"trades": trades, "equity": equity, "exposure": exposure, "refused": dict(refused), "cash": book.cash}
