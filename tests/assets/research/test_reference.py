"""The reference itself against numbers worked out by hand, and the random markets against what they promise to contain."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any

import pytest

from tests.support.reference.figures import figures_of
from tests.support.reference.folds import parameter_sets, windows
from tests.support.reference.indicators import atr14, ibs, indicators_of, quarantined, rsi2, sma200, suspicions_of
from tests.support.reference.market import build_market
from tests.support.reference.parameters import CANONICAL, DEFAULT_GRIDS, STRATEGIES
from tests.support.reference.random_markets import random_market, random_parameters
from tests.support.reference.signals import signals_of
from tests.support.reference.simulate import judge as gate
from tests.support.reference.simulate import simulate, to_tick

MONDAY = dt.date(2020, 1, 6)


def day(i: int) -> dt.date:
    return MONDAY + dt.timedelta(days=i)


def bar(symbol: str, i: int, o: float, h: float, lo: float, c: float, volume: float = 1000.0) -> dict[str, Any]:
    return {"symbol": symbol, "session": day(i), "open": o, "high": h, "low": lo, "close": c, "volume": volume}


def closes(*values: float) -> list[dict[str, Any]]:
    return [{"open": c, "high": c, "low": c, "close": c, "volume": 1000.0} for c in values]


def signal(symbol: str, i: int, side: str = "long", distance: float = 5.0) -> dict[str, Any]:
    return {"session": day(i), "symbol": symbol, "side": side, "stop_distance": distance, "close": 20.0}


def test_a_split_scales_the_bars_before_it_and_an_announced_one_does_not() -> None:
    bars = [bar("A", i, 10, 10, 10, 10) for i in range(3)]
    splits = [
        {"symbol": "A", "execution_date": day(1), "split_from": 1.0, "split_to": 2.0},
        {"symbol": "A", "execution_date": day(2), "split_from": 3.0, "split_to": 1.0},
        {"symbol": "A", "execution_date": day(3), "split_from": 1.0, "split_to": 7.0},
    ]
    adjusted = build_market(bars, splits)["bars"]["A"]
    assert [(b["factor"], b["close"], b["volume"]) for b in adjusted] == [
        (1.5, 15.0, 1000 / 1.5),
        (3.0, 30.0, 1000 / 3),
        (1.0, 10.0, 1000.0),
    ]


def test_indicators_by_hand() -> None:
    assert rsi2(closes(10, 11, 10, 13)) == [None, None, 50.0, pytest.approx(100 * 1.75 / 2)]
    assert rsi2(closes(5, 5, 5, 5)) == [None] * 4
    flat = sma200(closes(*[10.1] * 201))
    assert flat[:199] == [None] * 199
    assert flat[199:] == [10.1, 10.1]
    assert sma200(closes(*map(float, range(1, 202))))[199:] == [100.5, 101.5]
    assert ibs([{"high": 4.0, "low": 2.0, "close": 2.5}, {"high": 3.0, "low": 3.0, "close": 3.0}]) == [0.25, None]
    steady = [{"high": 12.0, "low": 10.0, "close": 11.0}] * 15 + [{"high": 27.0, "low": 25.0, "close": 26.0}]
    assert atr14(steady)[13:] == [None, 2.0, pytest.approx((13 * 2 + 16) / 14)]


def test_a_jump_without_a_crowd_is_quarantined_for_200_bars_and_one_with_a_crowd_is_not() -> None:
    bars = closes(*[10.0] * 30, *[5.0] * 300)
    assert [i for i, x in enumerate(suspicions_of(bars)) if x] == [30]
    assert [i for i, x in enumerate(quarantined(suspicions_of(bars))) if x] == list(range(30, 231))
    bars[30] = bars[30] | {"volume": 6001.0}
    assert not any(suspicions_of(bars))
    bars[30] = bars[30] | {"volume": 6000.0}
    assert suspicions_of(bars)[30], "3 × the median of dollars is not more than that"
    assert not any(suspicions_of(closes(10.0, 14.5)))
    assert suspicions_of(closes(10.0, 14.51))[1]


def test_ticks_round_away_and_forgive_rounding_noise() -> None:
    assert to_tick(10.001, up=True) == 10.01
    assert to_tick(10.009, up=False) == 10.0
    assert to_tick(10.01 + 1e-9, up=True) == 10.01
    assert to_tick(10.01 - 1e-9, up=False) == 10.01
    assert to_tick(0.12341, up=True) == 0.1235
    assert to_tick(0.99999, up=True) == 1.0


def test_the_first_reason_that_holds_refuses() -> None:
    p = CANONICAL | {"allow_shorts": True, "limit_offset_bps": 0.0}

    def judge(own: dict[str, Any], side: str, price: float, spent: float, cash: float) -> tuple[Any, ...]:
        order = {"side": side, "fill": price, "close": price, "limit_distance": 0.0, "stop_distance": 1.0}
        account = {"equity": 1000.0, "positions": 0, "gross": 0.0, "spent": spent, "cash": cash}
        return gate(own, own, order, account)[:3]

    assert judge(p, "long", 10.0, 0.0, 1000.0) == (None, 7.0, 70.0)
    assert judge(p, "long", 2.99, 0.0, 0.0)[0] == "price_out_of_bounds"
    assert judge(p, "long", 1000.01, 0.0, 0.0)[0] == "price_out_of_bounds"
    assert judge(p | {"allow_shorts": False}, "short", 1.0, 0.0, 0.0)[0] == "price_out_of_bounds"
    assert judge(p | {"allow_shorts": False}, "short", 100.0, 0.0, 0.0)[0] == "shorts_disabled"
    assert judge(p, "long", 75.01, 0.0, 0.0)[0] == "below_one_share"
    assert judge(p, "long", 75.0, 0.0, 75.0) == (None, 1.0, 75.0)
    assert judge(p | {"order_notional": 90.0}, "long", 80.0, 1e9, 0.0)[0] == "exceeds_order_budget"
    assert judge(p, "long", 10.0, 930.0, 1000.0) == (None, 7.0, 70.0)
    assert judge(p, "long", 10.0, 930.01, 0.0)[0] == "exceeds_daily_budget"
    assert judge(p, "long", 10.0, 0.0, 69.99)[0] == "insufficient_cash"
    assert judge(p | {"whole_shares": False}, "long", 80.0, 0.0, 100.0) == (None, 0.9375, 75.0)


def test_a_trade_by_hand_through_a_split_to_its_time_stop() -> None:
    bars = [bar("A", i, 20, 21, 19, 20) for i in range(3)] + [bar("A", i, 10, 10.5, 9.5, 10) for i in range(3, 8)]
    market = build_market(bars, [{"symbol": "A", "execution_date": day(3), "split_from": 1.0, "split_to": 2.0}])
    indicators = {"A": indicators_of(market["bars"]["A"])}
    p = CANONICAL | {"time_stop": 3, "slippage_bps": 100.0, "initial_cash": 1000.0, "regulatory_fees": False, "max_gap": None}
    run = simulate(market, indicators, {day(0): [signal("A", 0)]}, "ibs", p, day(1), day(7))
    (trade,) = run["trades"]
    # raw fill 20.20, limit 20.2202 -> 20.23, 3 shares as traded, 6 after the split; out at 10 less 1 %.
    assert (trade["qty"], trade["shares"]) == (3.0, 6.0)
    assert (trade["entry_session"], trade["exit_session"], trade["exit_reason"]) == (day(1), day(4), "time_stop")
    assert (trade["entry_price"], trade["exit_price"], trade["bars_held"]) == (pytest.approx(10.1), pytest.approx(9.9), 3)
    assert trade["pnl"] == pytest.approx(-1.2)
    assert run["cash"] == pytest.approx(998.8)
    assert [v for _, v in run["equity"]] == pytest.approx([999.4, 999.4, 999.4, 998.8, 998.8, 998.8, 998.8])
    assert run["exposure"][0] == pytest.approx(60 / 999.4)


def test_stops_gaps_flags_without_a_bar_delisting_and_the_window_end_by_hand() -> None:
    quiet = (20.0, 20.5, 19.5, 20.0)
    bars = [bar(s, i, *quiet) for s in "ABCDE" for i in range(2)]
    bars += [bar("A", 2, 15, 16, 14, 15)]  # gaps through its stop at 18
    bars += [bar("B", 2, 20, 22.5, 20, 21)]  # a short whose stop at 22 is touched
    bars += [bar("C", 4, 21, 21, 21, 21)]  # flagged at 1, no bar at 2 and 3
    bars += [bar("D", 2, *quiet)]  # its last bar ever
    bars += [bar("E", i, *quiet) for i in range(2, 14)]
    bars += [bar(s, i, *quiet) for s in "ABC" for i in range(6, 8)]
    market = build_market(bars, [])
    indicators = {s: indicators_of(b) for s, b in market["bars"].items()}
    p = CANONICAL | {"slippage_bps": 0.0, "allow_shorts": True, "regulatory_fees": False, "max_gap": None}
    signals = {
        day(0): [signal(s, 0, "short" if s == "B" else "long", 2.0) for s in "ABCDE"],
        day(4): [signal("C", 4), signal("E", 4)],
    }
    slow, fast = (simulate(market, indicators, signals, "ibs", p | {"time_stop": n}, day(0), day(6)) for n in (10, 1))
    assert [(t["symbol"], t["exit_session"], t["exit_price"], t["exit_reason"], t["bars_held"]) for t in slow["trades"]] == [
        ("A", day(2), 15.0, "stop", 1),
        ("B", day(2), 22.0, "stop", 1),
        ("C", day(6), 20.0, "window_end", 3),
        ("D", day(2), 20.0, "delisted", 2),
        ("E", day(6), 20.0, "window_end", 6),
    ]
    assert slow["refused"] == {"already_open": 2}
    by_symbol = {t["symbol"]: t for t in fast["trades"] if t["signal_session"] == day(0)}
    assert (by_symbol["C"]["exit_session"], by_symbol["C"]["exit_price"]) == (day(4), 21.0)
    assert by_symbol["E"]["exit_session"] == day(2)
    assert fast["refused"] == {"no_bar": 1}


def test_a_symbol_that_closed_at_this_open_is_refused_as_already_open() -> None:
    market = build_market([bar("A", i, 20, 20.5, 19.5, 20) for i in range(6)], [])
    indicators = {"A": indicators_of(market["bars"]["A"])}
    signals = {day(i): [signal("A", i)] for i in range(5)}
    run = simulate(market, indicators, signals, "ibs", CANONICAL | {"time_stop": 1}, day(0), day(5))
    assert [t["entry_session"] for t in run["trades"]] == [day(1), day(3), day(5)]
    assert run["refused"] == {"already_open": 2}


def test_windows_roll_or_are_anchored_and_the_last_may_have_one_session() -> None:
    sessions = list(range(27))
    rolling = windows(sessions, 5, 10, 4, anchored=False)
    assert [(f["train_start"], f["train_end"], f["test_start"], f["test_end"]) for f in rolling] == [
        (5, 14, 15, 18),
        (9, 18, 19, 22),
        (13, 22, 23, 26),
    ]
    assert len(windows(list(range(28)), 5, 10, 4, anchored=False)) == 4
    assert windows(list(range(15)), 5, 10, 4, anchored=False) == []
    assert {f["train_start"] for f in windows(sessions, 5, 10, 4, anchored=True)} == {5}


def test_the_last_factor_of_a_grid_runs_fastest() -> None:
    sets = parameter_sets(DEFAULT_GRIDS["rsi2"])
    assert len(sets) == 27
    assert sets[1] == {"rsi_entry": 5, "atr_stop": 1.5, "time_stop": 5}
    assert sets[3] == {"rsi_entry": 5, "atr_stop": 2, "time_stop": 3}


def test_figures_by_hand() -> None:
    figures = figures_of([0.1, -0.1, 0.0], [4.0, -1.0, 0.0, 2.0], [0.5, 0.1, 0.0], 100.0)
    assert figures["sharpe"] == pytest.approx(0.0, abs=1e-12)
    assert figures["volatility"] == pytest.approx(0.1 * 252**0.5)
    assert figures["max_drawdown"] == pytest.approx(-0.1)
    assert figures["cagr"] == pytest.approx(0.99**84 - 1)
    assert (figures["win_rate"], figures["profit_factor"], figures["expectancy"]) == (0.5, 6.0, 1.25)
    assert (figures["exposure"], figures["net_pnl"]) == (pytest.approx(0.2), pytest.approx(-1.0))
    idle = figures_of([0.0, 0.0], [], [0.0, 0.0], 100.0)
    undefined = ("sharpe", "sortino", "calmar", "win_rate", "profit_factor", "expectancy")
    assert [name for name, value in idle.items() if value is None] == list(undefined)
    assert figures_of([-0.5], [-1.0], [0.0], 100.0)["max_drawdown"] == -0.5
    ruined = figures_of([0.5, -1.0, 0.0], [-100.0], [0.0] * 3, 100.0)
    assert (ruined["cagr"], ruined["max_drawdown"], ruined["calmar"]) == (-1.0, -1.0, -1.0)


def test_the_random_markets_meet_every_refusal_every_exit_and_splits_in_every_place() -> None:
    refused: Counter[str] = Counter()
    exits: Counter[tuple[str, str]] = Counter()
    splits: Counter[str] = Counter()
    for seed in range(100):
        given, p = random_market(seed), random_parameters(seed)
        market = build_market(given["raw_bars"], given["splits"])
        indicators = {symbol: indicators_of(bars) for symbol, bars in market["bars"].items()}
        splits["announced"] += sum(s["execution_date"] > market["sessions"][-1] for s in given["splits"])
        splits["suspect"] += sum(any(own["quarantined"]) for own in indicators.values())
        for strategy in STRATEGIES:
            signals = signals_of(market, indicators, strategy, p, given["selected"])
            run = simulate(market, indicators, signals, strategy, p, market["sessions"][0], market["sessions"][-1])
            refused.update(run["refused"])
            exits.update((t["exit_reason"], t["side"]) for t in run["trades"])
            for t in run["trades"]:
                own = [s["execution_date"] for s in given["splits"] if s["symbol"] == t["symbol"]]
                splits["at entry"] += t["entry_session"] in own
                splits["in holding"] += any(t["entry_session"] < date <= t["exit_session"] for date in own)
    reasons = ["already_open", "no_bar", "price_out_of_bounds", "gap_too_wide", "shorts_disabled", "below_one_share"]
    reasons += ["exceeds_order_budget", "exceeds_daily_budget", "insufficient_cash"]
    assert set(refused) == set(reasons)
    assert min(refused.values()) >= 10
    kinds = ("stop", "rsi_exit", "time_stop", "delisted", "window_end")
    assert set(exits) >= {(reason, side) for reason in kinds for side in ("long", "short")}
    assert {reason for reason, _ in exits} == {*kinds, "suspect"}
    assert min(splits[key] for key in ("announced", "suspect", "at entry", "in holding")) >= 10
