"""Small random markets and parameters, a function of the seed alone, with every nuisance that real bars bring.

Prices trend (so that signals exist on both sides of the 200-bar mean), snap back and forth (so that RSI and IBS reach their
ends), and are rounded to cents. A few symbols are late, delisted, gappy, flat for weeks, dear, cheap, split, split in reverse,
split wrongly (a jump without its split) or about to split after the last session.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np

from tests.support.reference.parameters import CANONICAL

SPLIT_RATIOS = ((1, 2), (1, 3), (2, 3), (1, 10), (5, 1), (10, 1))
Rng = np.random.Generator


def random_sessions(rng: Rng, count: int) -> list[dt.date]:
    """Weekdays in a row, some of them holidays."""
    day = dt.date(2001, 1, 1) + dt.timedelta(days=int(rng.integers(0, 4000)))
    sessions: list[dt.date] = []
    while len(sessions) < count:
        if day.weekday() < 5 and rng.random() > 0.03:
            sessions.append(day)
        day += dt.timedelta(days=1)
    return sessions


def random_market(seed: int, sessions: int | None = None, away: bool = False) -> dict[str, Any]:
    """{"raw_bars": […], "splits": […], "dividends": […], "selected": set of symbols}. away: some are gone a while."""
    rng = np.random.default_rng([seed, 1])
    count = sessions or int(rng.integers(60, 200) if rng.random() < 0.05 else rng.integers(240, 401))
    days = random_sessions(rng, count)
    raw_bars: list[dict[str, Any]] = []
    splits: list[dict[str, Any]] = []
    symbols = [f"S{i:02d}" for i in rng.permutation(int(rng.integers(3, 13)))]
    for symbol in symbols:
        own = _random_splits(rng, symbol, days)
        splits += own
        raw_bars += _random_bars(rng, symbol, days, own)
    if away:
        raw_bars = _away(np.random.default_rng([seed, 4]), raw_bars, days)
    selected = {s for s in symbols if rng.random() < 0.9} if seed % 4 == 0 else set(symbols)
    order = rng.permutation(len(raw_bars))
    return {
        "raw_bars": [raw_bars[i] for i in order],
        "splits": splits,
        "dividends": _random_dividends(np.random.default_rng([seed, 3]), raw_bars),
        "selected": selected,
    }


def _away(rng: Rng, raw_bars: list[dict[str, Any]], days: list[dt.date]) -> list[dict[str, Any]]:
    """The bars without those of a few symbols over a stretch of sessions, now and then just too short for another listing."""
    symbols = sorted({bar["symbol"] for bar in raw_bars})
    for symbol in symbols[: int(rng.integers(0, 3)) if len(symbols) > 3 else 0]:
        begin, count = int(rng.integers(len(days) // 3, len(days))), int(rng.choice([9, 10, 11, 12, 40]))
        gone = set(days[begin : begin + count])
        raw_bars = [bar for bar in raw_bars if bar["symbol"] != symbol or bar["session"] not in gone]
    return raw_bars


def _random_dividends(rng: Rng, raw_bars: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Many small ones, a few of them of days without a bar, and now and then two of one day."""
    picked = [raw_bars[i] for i in rng.integers(0, len(raw_bars), len(raw_bars) // 10)]
    return [
        {
            "symbol": bar["symbol"],
            "ex_date": bar["session"] + dt.timedelta(days=int(rng.choice([0, 0, 0, 1]))),
            "amount": round(bar["close"] * float(rng.uniform(0.001, 0.02)), 4),
        }
        for bar in picked
    ]


def _random_splits(rng: Rng, symbol: str, days: list[dt.date]) -> list[dict[str, Any]]:
    """None to four; most of them late enough to meet trades, a few announced for after the last session."""
    dates = []
    for _ in range(int(rng.choice([0, 0, 1, 2, 4]))):
        late = rng.random() < 0.8
        dates.append(days[int(rng.integers(min(200, len(days) - 1) if late else 0, len(days)))])
    if rng.random() < 0.1:
        dates.append(days[-1] + dt.timedelta(days=int(rng.integers(1, 30))))
    ratios = [SPLIT_RATIOS[int(rng.integers(len(SPLIT_RATIOS)))] for _ in dates]
    return [
        {"symbol": symbol, "execution_date": date, "split_from": float(a), "split_to": float(b)}
        for date, (a, b) in zip(dates, ratios, strict=True)
    ]


def _random_bars(rng: Rng, symbol: str, days: list[dt.date], splits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    n = len(days)
    first = int(rng.integers(0, n // 3)) if rng.random() < 0.2 else 0
    last = int(rng.integers(n // 2, n)) if rng.random() < 0.3 else n
    missing = rng.random(n) < rng.choice([0.0, 0.01, 0.06])
    opens, highs, lows, closes = _random_prices(rng, n)
    volume = rng.lognormal(13, 0.4, n)
    _bad_prints(rng, (opens, highs, lows, closes), volume)
    unsplit = np.ones(n)
    for split in splits:
        if split["execution_date"] <= days[-1]:
            unsplit[: sum(day < split["execution_date"] for day in days)] *= split["split_to"] / split["split_from"]
    opens, highs, lows, closes = (_to_cents(prices * unsplit) for prices in (opens, highs, lows, closes))
    highs = np.maximum.reduce([opens, highs, lows, closes])
    lows = np.minimum.reduce([opens, lows, closes])
    columns = [x.tolist() for x in (opens, highs, lows, closes, np.round(volume / unsplit))]
    names = ("open", "high", "low", "close", "volume")
    return [
        {"symbol": symbol, "session": days[i], **{name: column[i] for name, column in zip(names, columns, strict=True)}}
        for i in range(first, last)
        if not missing[i] or i in (first, last - 1)
    ]


def _random_prices(rng: Rng, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Open, high, low, close as they look after every split."""
    level = float(rng.choice([1.0, 5.0, 12.0, 40.0, 150.0, 1000.0], p=[0.05, 0.15, 0.35, 0.25, 0.1, 0.1]))
    drift = float(rng.choice([-1.0, 1.0]) * rng.uniform(0.0, 0.003))
    noise = float(rng.uniform(0.005, 0.03))
    log_close = np.log(level * rng.uniform(0.8, 1.2)) + drift * (np.arange(n) - n) + rng.normal(0, noise, n)
    log_close += np.cumsum(rng.normal(0, noise / 3, n))
    log_open = np.concatenate([log_close[:1], log_close[:-1]]) + rng.normal(0, noise / 3, n)
    high = np.maximum(log_open, log_close) + rng.exponential(noise / 3, n)
    low = np.minimum(log_open, log_close) - rng.exponential(noise / 3, n)
    pinned = rng.random(n) < rng.choice([0.0, 0.03])
    if rng.random() < 0.15:
        begin = int(rng.integers(0, n))
        pinned[begin : begin + int(rng.integers(5, 40))] = True
        log_close[pinned] = log_close[begin]
    for series in (log_open, high, low):
        series[pinned] = log_close[pinned]
    opens, highs, lows, closes = (np.exp(x) for x in (log_open, high, low, log_close))
    return opens, highs, lows, closes


def _bad_prints(rng: Rng, prices: tuple[np.ndarray, ...], volume: np.ndarray) -> None:
    """A level shift that no split explains: with the usual crowd (suspect), or with a real crash's volume."""
    if rng.random() > 0.2:
        return
    at = int(rng.integers(1, len(volume)))
    jump = float(rng.choice([0.5, 2.0, 0.6]))
    for series in prices:
        series[at:] *= jump
    if rng.random() < 0.5:
        volume[at] *= 40


def _to_cents(prices: np.ndarray) -> np.ndarray:
    return np.where(prices >= 1, np.round(prices, 2), np.maximum(np.round(prices, 4), 0.0001))


def random_parameters(seed: int) -> dict[str, Any]:
    """The canonical parameters with some of them moved, so that every refusal and every exit occurs somewhere."""
    rng = np.random.default_rng([seed, 2])
    moved = {
        "indicator_lag_bars": [0, 1, 1, 1, 2],
        "signal_min_price": [1.0, 5.0],
        "rsi_entry": [5.0, 10.0, 15.0, 30.0],
        "rsi_exit": [60.0, 70.0, 90.0],
        "ibs_entry": [0.1, 0.2, 0.3],
        "atr_stop": [0.5, 1.0, 2.0, 3.0],
        "time_stop": [1, 3, 5, 10],
        "initial_cash": [150.0, 1000.0, 100_000.0],
        "order_notional": [75.0, 75.0, 500.0, 2000.0],
        "whole_shares": [True, False],
        "slippage_bps": [0.0, 5.0, 40.0],
        "limit_offset_bps": [0.0, 10.0, 50.0],
        "max_notional_per_order": [75.0, 500.0, 2000.0],
        "max_daily_notional": [150.0, 1000.0, 5000.0],
        "min_price": [3.0, 6.0],
        "max_price": [100.0, 1000.0],
        "allow_shorts": [True, True, False],
    }
    drawn: dict[str, Any] = {name: values[int(rng.integers(len(values)))] for name, values in moved.items()}
    return CANONICAL | (drawn if seed % 5 else {"allow_shorts": True})


def random_terms(seed: int) -> dict[str, Any]:
    """`random_parameters` with sizes, entries, costs and limits of every kind; every fourth one keeps to the default terms."""
    rng = np.random.default_rng([seed, 4])
    moved = {
        "mode": ["fixed", "equity", "risk"],
        "fraction": [0.0005, 0.01, 0.1, 1.0],
        "entry": ["ioc", "opg"],
        "open_limit_bps": [0.0, 100.0, 300.0],
        "limit_atr": [None, None, 0.1, 0.5],
        "commission_per_order": [0.0, 1.0],
        "commission_per_share": [0.0, 0.005],
        "commission_minimum": [0.0, 0.35],
        "regulatory_fees": [True, False],
        "borrow_rate": [0.0, 0.03, 0.5],
        "max_gap": [None, 0.02, 0.25],
        "max_positions": [None, None, 1, 3],
        "max_order_fraction": [None, None, 0.05, 1.0],
        "max_daily_fraction": [None, None, 0.1, 2.0],
        "max_gross_exposure": [None, None, 0.2, 1.0],
        "max_notional_per_order": [75.0, 2000.0, None],
        "max_daily_notional": [1000.0, 5000.0, None],
    }
    drawn: dict[str, Any] = {name: values[int(rng.integers(len(values)))] for name, values in moved.items()}
    for name in ("atr_stop", "time_stop"):
        if rng.random() < 0.15:
            drawn[name] = None
    return random_parameters(seed) | (drawn if seed % 4 else {})
