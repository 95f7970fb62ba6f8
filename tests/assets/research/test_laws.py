"""Laws that hold for every market: hypothesis draws the market and its costs, the product must obey."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kobe_assets.research.entry_queue import interleave
from kobe_assets.research.simulation import equity_curves, simulate, terms_of
from kobe_assets.research.walk_forward import find_signals
from tests.support.drivers.product import Product, from_panel, panel_of, with_limit
from tests.support.reference.market import build_market
from tests.support.reference.parameters import STRATEGIES
from tests.support.reference.random_markets import random_market, random_parameters, random_terms

law = settings(max_examples=25, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 10**6)
names = st.sampled_from(STRATEGIES)
BUSY = {
    "signal_min_price": 0.5,
    "rsi_entry": 30.0,
    "ibs_entry": 0.3,
    "min_price": 0.5,
    "max_price": 1e6,
    "order_notional": 1000.0,
    "max_notional_per_order": 2000.0,
    "max_daily_notional": 1e6,
    "initial_cash": 100_000.0,
    "allow_shorts": True,
    "whole_shares": False,
}
"""Limits so wide that a law meets trades in plenty."""


def product(market: dict[str, Any], p: dict[str, Any]) -> Product:
    return from_panel(panel_of(build_market(market["raw_bars"], market["splits"], market["dividends"])), p, market["selected"])


@law
@given(seeds, names)
def test_cash_is_conserved(seed: int, name: str) -> None:
    p = random_terms(seed)
    run = product(random_market(seed), p).run(name)
    earned = sum(t["pnl"] for t in run["trades"])
    assert run["equity"][-1][1] == pytest.approx(p["initial_cash"] + earned, abs=0.005)
    assert run["figures"]["net_pnl"] == pytest.approx(earned, abs=0.005)
    # Before the first entry nothing has moved; between, equity is cash plus positions at the close.
    quiet = [value for day, value in run["equity"] if all(day < t["entry_session"] for t in run["trades"])]
    assert quiet == [p["initial_cash"]] * len(quiet)


@law
@given(seeds, names, st.integers(1, 10))
def test_equity_on_a_day_without_positions_is_the_cash_that_closed_trades_left(seed: int, name: str, held: int) -> None:
    p = random_parameters(seed) | {"time_stop": held}
    run = product(random_market(seed), p).run(name)
    for day, value in run["equity"]:
        if not any(t["entry_session"] <= day < t["exit_session"] for t in run["trades"]):
            closed = sum(t["pnl"] for t in run["trades"] if t["exit_session"] <= day)
            assert value == pytest.approx(p["initial_cash"] + closed, rel=1e-9)


@law
@given(seeds, names)
def test_holdings_of_a_symbol_never_overlap_or_touch(seed: int, name: str) -> None:
    trades = product(random_market(seed), random_parameters(seed) | BUSY).run(name)["trades"]
    assume(trades)
    until: dict[str, dt.date] = {}
    for t in trades:
        assert t["signal_session"] < t["entry_session"] <= t["exit_session"]
        if t["symbol"] in until:
            assert t["entry_session"] > until[t["symbol"]], "an entry at the open of an exit is refused"
        until[t["symbol"]] = t["exit_session"]


@law
@given(seeds, names)
def test_the_order_of_bars_and_of_symbols_is_irrelevant(seed: int, name: str) -> None:
    market, p = random_market(seed), random_terms(seed)
    panel = panel_of(build_market(market["raw_bars"], market["splits"], market["dividends"]))
    shuffled = np.random.default_rng(seed).permutation(len(market["raw_bars"]))
    other = market | {"raw_bars": [market["raw_bars"][i] for i in shuffled], "splits": market["splits"][::-1]}
    runs = [from_panel(panel, p, market["selected"]).run(name), product(other, p).run(name)]
    assert runs[0]["trades"] == runs[1]["trades"]
    assert runs[0]["equity"] == runs[1]["equity"]
    assert runs[0]["refused"] == runs[1]["refused"]


@law
@given(seeds, names)
def test_a_symbol_that_may_not_trade_changes_nothing(seed: int, name: str) -> None:
    market, p = random_market(seed), random_parameters(seed) | BUSY
    tape = [bar | {"symbol": "AAA"} for bar in market["raw_bars"] if bar["symbol"] == "S00"]
    crowded = market | {"raw_bars": tape + market["raw_bars"]}
    runs = [product(m, p).run(name) for m in (market, crowded)]
    assert runs[0]["trades"] == runs[1]["trades"]
    assert runs[0]["equity"] == runs[1]["equity"]


@law
@given(seeds, names)
def test_without_slippage_every_fill_is_a_price_of_its_bar(seed: int, name: str) -> None:
    ours = product(random_market(seed), random_parameters(seed) | BUSY | {"slippage_bps": 0.0, "atr_stop": 1.0})
    panel = ours.market.panel
    days = panel.sessions.tolist()
    trades = ours.run(name)["trades"]
    assume(trades)
    for t in trades:
        symbol = panel.symbols.index(t["symbol"])
        entry, exit_ = (panel.bar_at[days.index(t[key]), symbol] for key in ("entry_session", "exit_session"))
        assert t["entry_price"] == panel.rows[entry, 0]
        if t["exit_reason"] == "stop":
            assert panel.rows[exit_, 2] <= t["exit_price"] <= panel.rows[exit_, 1]
        elif t["exit_reason"] in ("rsi_exit", "time_stop"):
            assert t["exit_price"] == panel.rows[exit_, 0]
        elif t["exit_reason"] == "suspect":
            before = [t["entry_price"]] if exit_ == entry else [panel.rows[exit_ - 1, 3]]
            assert t["exit_price"] == before[0]
        elif exit_ >= 0:
            assert t["exit_price"] == panel.rows[exit_, 3]


@law
@given(seeds, names, st.floats(0, 100), st.floats(0.1, 100))
def test_the_same_trades_never_earn_more_at_a_higher_slippage(seed: int, name: str, low: float, more: float) -> None:
    market, p = random_market(seed), random_parameters(seed) | BUSY | {"whole_shares": True, "order_notional": 2000.0}
    # The stop hangs from the fill: out of reach, so that both runs leave at the same prices before slippage.
    p |= {"atr_stop": 1000.0}
    cheap, dear = (product(market, p | {"slippage_bps": bps}).run(name)["trades"] for bps in (low, low + more))
    key = ("symbol", "entry_session", "exit_session", "exit_reason", "shares")
    found = {tuple(t[k] for k in key): t["pnl"] for t in cheap}
    same = [(found[k], t["pnl"]) for t in dear if (k := tuple(t[name] for name in key)) in found]
    assume(same)
    assert all(expensive < cheaper for cheaper, expensive in same)


@law
@given(seeds, names)
def test_raw_bars_with_splits_equal_bars_adjusted_beforehand(seed: int, name: str) -> None:
    """Ticks are of the price as traded, so the stop is out of reach and shares agree to a tick of the limit."""
    market = random_market(seed)
    assume(market["splits"])
    p = random_parameters(seed) | BUSY | {"atr_stop": 1e4, "signal_min_price": 1e-6, "min_price": 1e-6, "max_price": 1e9}
    adjusted = build_market(market["raw_bars"], market["splits"])
    bars = [
        {"symbol": s, **{k: b[k] for k in ("session", "open", "high", "low", "close", "volume")}}
        for s, own in adjusted["bars"].items()
        for b in own
    ]
    split, whole = (product(m, p) for m in (market, market | {"raw_bars": bars, "splits": []}))
    assert [(s["session"], s["symbol"], s["side"], s["score"]) for s in split.signals(name)] == [
        (s["session"], s["symbol"], s["side"], s["score"]) for s in whole.signals(name)
    ]
    trades = [run["trades"] for run in (split.run(name), whole.run(name))]
    assert len(trades[0]) == len(trades[1])
    for a, b in zip(*trades, strict=True):
        for key in ("symbol", "side", "entry_session", "exit_session", "exit_reason", "entry_price", "exit_price"):
            assert a[key] == b[key]
        tick = 0.01 / min(a["entry_price"] * a["shares"] / a["qty"], a["entry_price"])
        assert a["shares"] == pytest.approx(b["shares"], rel=2 * tick)


@law
@given(seeds, names, st.sampled_from([(1, 2), (1, 4), (2, 1), (8, 1)]))
def test_a_split_inside_a_holding_changes_nothing_in_value(seed: int, name: str, ratio: tuple[int, int]) -> None:
    # A regulator's fee a share is paid on more shares after the split: no law of value.
    market, p = random_market(seed), random_parameters(seed) | BUSY | {"regulatory_fees": False}
    ours = product(market, p)
    longest = max(ours.run(name)["trades"], key=lambda t: t["exit_session"] - t["entry_session"], default=None)
    assume(longest is not None and longest["entry_session"] < longest["exit_session"])
    assert longest is not None
    days = ours.market.panel.sessions.tolist()
    symbol, ends = longest["symbol"], longest["exit_session"]
    date = days[days.index(longest["entry_session"]) + 1]
    scale = ratio[0] / ratio[1]

    def after_split(bar: dict[str, Any]) -> dict[str, Any]:
        if bar["symbol"] != symbol or bar["session"] < date:
            return bar
        prices = {k: bar[k] * scale for k in ("open", "high", "low", "close")}
        return bar | prices | {"volume": bar["volume"] / scale}

    split = {"symbol": symbol, "execution_date": date, "split_from": float(ratio[0]), "split_to": float(ratio[1])}
    paid = [
        d | {"amount": d["amount"] * scale} if d["symbol"] == symbol and d["ex_date"] >= date else d
        for d in market["dividends"]
    ]
    bars = [after_split(b) for b in market["raw_bars"]]
    other = market | {"raw_bars": bars, "splits": [*market["splits"], split], "dividends": paid}
    before, after = ours.run(name, days[0], ends), product(other, p).run(name, days[0], ends)
    assert [v for _, v in after["equity"]] == pytest.approx([v for _, v in before["equity"]], rel=1e-12)
    assert len(before["trades"]) == len(after["trades"])
    for a, b in zip(before["trades"], after["trades"], strict=True):
        own = scale if a["symbol"] == symbol else 1.0
        assert (a["symbol"], a["exit_session"], a["exit_reason"]) == (b["symbol"], b["exit_session"], b["exit_reason"])
        assert b["qty"] == pytest.approx(a["qty"], rel=1e-12)
        assert b["dividends"] == pytest.approx(a["dividends"], rel=1e-9)
        assert b["shares"] == pytest.approx(a["shares"] / own, rel=1e-12)
        assert b["pnl"] == pytest.approx(a["pnl"], rel=1e-9, abs=1e-9)


@law
@given(seeds, names, st.floats(0.3, 0.95))
def test_bars_after_the_window_change_nothing_inside_it(seed: int, name: str, cut: float) -> None:
    market, p = random_market(seed), random_parameters(seed) | BUSY
    days = sorted({bar["session"] for bar in market["raw_bars"]})
    end = days[int(len(days) * cut)]
    rng = np.random.default_rng(seed)

    def noise(bar: dict[str, Any]) -> dict[str, Any]:
        if bar["session"] <= end:
            return bar
        factor = float(rng.lognormal(0.0, 1.0))
        prices = {k: bar[k] * factor for k in ("open", "high", "low", "close")}
        return bar | prices | {"volume": float(rng.integers(0, 10**6))}

    other = market | {"raw_bars": [noise(bar) for bar in market["raw_bars"]]}
    first, second = product(market, p), product(other, p)
    assert [s for s in first.signals(name) if s["session"] <= end] == [s for s in second.signals(name) if s["session"] <= end]
    runs = [ours.run(name, days[0], end) for ours in (first, second)]
    assert runs[0] == runs[1]


@law
@given(seeds, names, st.floats(0.55, 0.99))
def test_signals_of_truncated_bars_are_the_signals_of_then(seed: int, name: str, cut: float) -> None:
    market, p = random_market(seed), random_parameters(seed)
    days = sorted({bar["session"] for bar in market["raw_bars"]})
    end = days[int(len(days) * cut)]
    market = market | {"splits": [s for s in market["splits"] if not end < s["execution_date"] <= days[-1]]}
    past = market | {"raw_bars": [bar for bar in market["raw_bars"] if bar["session"] <= end]}
    then = [s for s in product(market, p).signals(name) if s["session"] <= end]
    assert product(past, p).signals(name) == then


@law
@given(seeds, names, st.floats(0, 20), st.floats(0, 0.05), st.floats(0, 0.5))
def test_more_fee_never_brings_more_money_at_the_same_trades(
    seed: int, name: str, order: float, share: float, rate: float
) -> None:
    market, p = random_market(seed), random_parameters(seed) | BUSY | {"regulatory_fees": False}
    dearer = {"commission_per_order": order, "commission_per_share": share, "borrow_rate": rate, "regulatory_fees": True}
    key = ("symbol", "entry_session", "exit_session", "exit_reason", "shares")
    cheap, dear = (product(market, q).run(name)["trades"] for q in (p, p | dearer))
    found = {tuple(t[k] for k in key): t for t in cheap}
    same = [(found[k], t) for t in dear if (k := tuple(t[name] for name in key)) in found]
    assume(same)
    assert all(b["pnl"] <= a["pnl"] + 1e-9 and b["fees"] >= a["fees"] == 0.0 for a, b in same)


@law
@given(seeds, names)
def test_no_profit_comes_from_a_suspect_bar(seed: int, name: str) -> None:
    ours = product(random_market(seed), random_terms(seed) | {"slippage_bps": 0.0})
    market, rows = ours.market, ours.market.panel.rows
    assert market.suspect is not None
    days = market.panel.sessions.tolist()
    trades = ours.run(name)["trades"]
    assume(trades)
    for t in trades:
        symbol, sign = market.panel.symbols.index(t["symbol"]), 1 if t["side"] == "long" else -1
        entry, last = (market.panel.bar_at[days.index(t[key]), symbol] for key in ("entry_session", "exit_session"))
        if last < 0:
            continue
        for bar in entry + np.flatnonzero(market.suspect[entry : last + 1]):
            mark = t["entry_price"] if bar == entry else rows[bar - 1, 3]
            if sign * (rows[bar, 3] - mark) > 0:
                assert bar == last or t["exit_reason"] == "stop"
                assert sign * (t["exit_price"] - mark) <= 1e-9 * mark or t["exit_reason"] in ("rsi_exit", "time_stop")


@law
@given(seeds, names, st.sampled_from(["equity", "risk"]), st.sampled_from([2.0, 10.0, 0.5]))
def test_sizing_by_equity_scales_with_the_account(seed: int, name: str, mode: str, times: float) -> None:
    limits = dict.fromkeys(("max_notional_per_order", "max_daily_notional"))
    p = random_parameters(seed) | BUSY | limits | {"mode": mode, "fraction": 0.01, "initial_cash": 1e5}
    one, many = (product(random_market(seed), p | {"initial_cash": 1e5 * k, "regulatory_fees": False}) for k in (1.0, times))
    ours, theirs = one.run(name)["trades"], many.run(name)["trades"]
    assert [(t["symbol"], t["entry_session"], t["exit_session"]) for t in ours] == [
        (t["symbol"], t["entry_session"], t["exit_session"]) for t in theirs
    ]
    assume(ours)
    for a, b in zip(ours, theirs, strict=True):
        assert b["shares"] == pytest.approx(times * a["shares"], rel=1e-9)


@law
@given(seeds, names, st.floats(0, 300))
def test_the_open_of_an_auction_entry_never_lies_beyond_its_limit(seed: int, name: str, bps: float) -> None:
    p = random_parameters(seed) | BUSY | {"entry": "opg", "open_limit_bps": bps, "slippage_bps": 0.0}
    ours = product(random_market(seed), p)
    panel, days = ours.market.panel, ours.market.panel.sessions.tolist()
    trades = ours.run(name)["trades"]
    assume(trades)
    for t in trades:
        symbol, sign = panel.symbols.index(t["symbol"]), 1 if t["side"] == "long" else -1
        signal, entry = (panel.bar_at[days.index(t[key]), symbol] for key in ("signal_session", "entry_session"))
        factor = panel.rows[entry, 4]
        exact = panel.rows[signal, 3] / factor * (1 + sign * bps / 10_000)
        # The limit lies on the tick away from us, at most one tick off.
        assert sign * (t["entry_price"] / factor - exact) <= (0.01 if exact >= 1 else 0.0001) + 1e-9


@law
@given(seeds, names, st.floats(0.05, 2.0))
def test_a_limit_entry_is_never_filled_beyond_its_limit(seed: int, name: str, multiple: float) -> None:
    p = random_parameters(seed) | BUSY | {"limit_atr": multiple}
    ours = product(random_market(seed), p)
    panel, days = ours.market.panel, ours.market.panel.sessions.tolist()
    trades = ours.run(name)["trades"]
    assume(trades)
    for t in trades:
        symbol, sign = panel.symbols.index(t["symbol"]), 1 if t["side"] == "long" else -1
        signal, entry = (panel.bar_at[days.index(t[key]), symbol] for key in ("signal_session", "entry_session"))
        limit = panel.rows[signal, 3] - sign * multiple * ours.market.indicators.atr14[signal - ours.market.lag]
        assert sign * (t["entry_price"] - limit) <= 1e-6 * limit
        worst = panel.low[entry] if sign > 0 else panel.high[entry]
        assert sign * (t["entry_price"] - worst) >= -1e-9 * worst


TIGHT: dict[str, list[Any]] = {
    "mode": ["fixed", "equity", "risk"],
    "max_positions": [None, 1, 2],
    "max_daily_notional": [2500.0, 1e6],
    "max_gross_exposure": [None, 0.02, 0.05],
    "max_daily_fraction": [None, 0.02],
    "initial_cash": [3000.0, 100_000.0],
    "limit_atr": [None, 0.3],
}
"""Limits that a session of several signals meets now and then."""


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(seeds, st.fixed_dictionaries({name: st.sampled_from(values) for name, values in TIGHT.items()}))
def test_a_trial_has_the_equity_of_the_run_that_keeps_its_trades(seed: int, drawn: dict[str, Any]) -> None:
    """A trial leaves a session where nothing more can pass the gate, and goes through it beside others."""
    ours = product(random_market(seed), random_terms(seed) | BUSY | drawn)
    market, last = ours.market, len(ours.market.panel.sessions) - 1
    chosen = (("ibs", 1.0), ("rsi2", 0.5))
    parts = [(with_limit(name), ours.params(name), weight) for name, weight in chosen]
    priced = [
        find_signals(market, market.readable(), strategy, [params]).priced(market, weight) for strategy, params, weight in parts
    ]
    rules = (market.costs, market.limits, market.auction)
    alone, trial = (priced[0].feeds([0], trial=is_trial)[0] for is_trial in (False, True))
    both = interleave(market.panel, [own.feeds([0])[0] for own in priced])
    for first, run, count in ((trial, alone, 1), (both, both, 2)):
        sets = [
            terms_of([params | {"time_stop": 1.0 + k} for _, params, _ in parts[:count]], [w for *_, w in parts[:count]])
            for k in range(10)
        ]
        curves = equity_curves(first, 0, last, np.array(sets), *rules)
        for terms, curve in zip(sets, curves, strict=True):
            np.testing.assert_array_equal(curve, simulate(run, 0, last, terms, *rules).equity)
