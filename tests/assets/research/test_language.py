"""The language of indicators against TA-Lib and by hand, and looks into the future that the check must catch."""

from __future__ import annotations

import gc
import math
import time
import warnings
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import talib as ta

from kobe_assets.checks.research import describe_lookahead, proven_columns, signals_read_no_future
from kobe_assets.research import language as say
from kobe_assets.research.costs import make_costs
from kobe_assets.research.declared import Indicator, ListingBars, listing_bars, values_of
from kobe_assets.research.faults import BadDeclaration, StrategyFault
from kobe_assets.research.indicators import compute_indicators
from kobe_assets.research.means import mean_of_last
from kobe_assets.research.panel import Panel, build_panel
from kobe_assets.research.signals import find_candidates
from kobe_assets.research.strategies import Reading, Strategy
from kobe_assets.research.strategies.asking import mixed_bar, satisfied, scored
from kobe_assets.research.walk_forward import Market
from kobe_resources.settings.models import Settings

SYMBOLS, SESSIONS = ("AAA", "BBB", "CCC", "SPY"), 330
MISSED = {("BBB", 60), ("BBB", 61), ("SPY", 100)}
LATE = 40
"""CCC begins so many sessions later."""


@pytest.fixture(scope="module")
def panel() -> Panel:
    rng = np.random.default_rng(3)
    place, session = [], []
    for k, name in enumerate(SYMBOLS):
        for d in range(LATE if name == "CCC" else 0, SESSIONS):
            if (name, d) not in MISSED:
                place.append(k)
                session.append(d)
    close = np.exp(rng.normal(0.0, 0.02, len(place)).cumsum() * 0.3 + 3.5)
    opened = close * np.exp(rng.normal(0.0, 0.01, len(close)))
    high, low = (np.maximum(opened, close) * 1.01, np.minimum(opened, close) * 0.99)
    columns = {"open": opened, "high": high, "low": low, "close": close, "factor": np.ones(len(close))}
    columns["volume"] = rng.uniform(1e5, 2e5, len(close))
    days = np.datetime64("2015-01-05") + np.arange(SESSIONS)
    return build_panel(SYMBOLS, days, np.array(place), np.array(session), columns)


def column(panel: Panel, indicator: Indicator) -> np.ndarray:
    return compute_indicators(panel, {"x": indicator})["x"]


def column_of_closes(indicator: Indicator, closes: np.ndarray) -> np.ndarray:
    days = np.datetime64("2015-01-05") + np.arange(len(closes))
    return values_of(indicator, ListingBars(closes, closes, closes, closes, closes, days))


def assert_is(panel: Panel, indicator: Indicator, expected: object) -> None:
    """Each listing's column is what `expected` makes of its bars."""
    found = column(panel, indicator)
    assert np.isfinite(found).any()
    for k in range(len(panel.symbols)):
        bars = listing_bars(panel, k)
        own = found[panel.start[k] : panel.start[k + 1]]
        np.testing.assert_allclose(own, expected(bars), rtol=1e-9, atol=1e-9, err_msg=str(indicator))  # type: ignore[operator]


def test_columns_are_let_go_when_nobody_holds_them(panel: Panel) -> None:
    """A large market's columns would lie in memory until garbage is collected, which seldom is."""
    declared = {"own": say.sma(30), "theirs": say.sma(30).of("AAA"), "place": say.rank(say.sma(30))}
    gc.disable()
    try:
        computed = compute_indicators(panel, declared)
        column = weakref.ref(computed["own"])
        del computed
        # A helping thread lets its work go a moment after it has said that it is done.
        until = time.monotonic() + 10.0
        while column() is not None and time.monotonic() < until:
            time.sleep(0.001)
        assert column() is None
    finally:
        gc.enable()


CASES = {
    "rsi": (say.rsi(4), lambda b: ta.RSI(b.close, 4)),
    "sma": (say.sma(30), lambda b: ta.SMA(b.close, 30)),
    "ema": (say.ema(21), lambda b: ta.EMA(b.close, 21)),
    "atr": (say.atr(10), lambda b: ta.ATR(b.high, b.low, b.close, 10)),
    "roc": (say.roc(5), lambda b: ta.ROC(b.close, 5)),
    "stdev": (say.stdev(20), lambda b: ta.STDDEV(b.close, 20)),
    "zscore": (say.zscore(20), lambda b: (b.close - ta.SMA(b.close, 20)) / ta.STDDEV(b.close, 20)),
    "highest": (say.highest(10), lambda b: ta.MAX(b.high, 10)),
    "lowest": (say.lowest(10), lambda b: ta.MIN(b.low, 10)),
    "ibs": (say.ibs(), lambda b: (b.close - b.low) / (b.high - b.low)),
    "price": (say.price("open"), lambda b: b.open),
    "dollars": (say.price("dollar_volume"), lambda b: b.close * b.volume),
    "of volume": (say.sma(20, price="volume"), lambda b: ta.SMA(b.volume, 20)),
    "of an indicator": (say.sma(5, price=say.rsi(14)), lambda b: ta.SMA(ta.RSI(b.close, 14), 5)),
    "adx": (say.talib("ADX", timeperiod=14), lambda b: ta.ADX(b.high, b.low, b.close, 14)),
    "macd": (say.talib("MACD", output="macdsignal"), lambda b: ta.MACD(b.close)[1]),
    "bands": (say.talib("bbands", nbdevup=1, output=0), lambda b: ta.BBANDS(b.close, nbdevup=1.0)[0]),
    "mfi": (say.talib("MFI", timeperiod=10), lambda b: ta.MFI(b.high, b.low, b.close, b.volume, 10)),
    "obv": (say.talib("OBV"), lambda b: ta.OBV(b.close, b.volume)),
    "two prices": (
        say.talib("CORREL", price0="close", price1="volume", timeperiod=20),
        lambda b: ta.CORREL(b.close, b.volume, 20),
    ),
    "a pattern": (say.talib("CDLDOJI"), lambda b: ta.CDLDOJI(b.open, b.high, b.low, b.close).astype(float)),
    "custom": (
        say.custom(lambda b: b.high - b.low, warmup=3),
        lambda b: np.where(np.arange(len(b)) < 3, np.nan, b.high - b.low),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_an_indicator_is_what_its_rule_says(case: str, panel: Panel) -> None:
    indicator, expected = CASES[case]
    assert_is(panel, indicator, expected)


def test_a_mean_is_exact_to_rounding_after_any_number_of_bars() -> None:
    """A running sum of doubles drifts by a bit or two, enough to make a tie of cents a signal."""
    closes = np.round(8.03 + np.random.default_rng(3).integers(-40, 41, 4000) / 100, 2)
    for n in (20, 50):
        exact = np.array([math.fsum(closes[i - n + 1 : i + 1]) / n for i in range(n - 1, len(closes))])
        np.testing.assert_array_equal(column_of_closes(say.sma(n), closes)[n - 1 :], exact)
        assert (ta.SMA(closes, n)[n - 1 :] != exact).any()


def test_a_mean_begins_anew_after_an_undefined_value() -> None:
    found = mean_of_last(np.array([np.nan, 1.0, 2.0, 3.0, np.nan, 5.0, 5.0, 5.0]), 2)
    np.testing.assert_array_equal(found, [np.nan, np.nan, 1.5, 2.5, np.nan, np.nan, 5.0, 5.0])


def test_every_function_of_talib_can_be_declared(panel: Panel) -> None:
    bars = listing_bars(panel, 0)
    for name in ta.get_functions():
        more = {"periods": say.custom(lambda b: np.full(len(b), 5.0))} if name == "MAVP" else {}
        values = say.talib(name, **more).over(bars)  # type: ignore[misc]
        assert values.shape == (len(bars),), name


def test_the_canonical_declarations_are_the_canonical_columns(panel: Panel) -> None:
    declared = {"a": say.rsi(2), "b": say.sma(200), "c": say.atr(14), "d": say.ibs()}
    found = compute_indicators(panel, declared)
    for name, own in zip("abcd", ("rsi2", "sma200", "atr14", "ibs"), strict=True):
        assert found[name] is found[own]


def test_an_rsi_of_what_does_not_move_is_undefined() -> None:
    close = np.concatenate([np.full(60, 20.0), np.linspace(20, 21, 20)])
    days = np.datetime64("2015-01-05") + np.arange(80)
    bars = say.ListingBars(close, close, close, close, np.full(80, 1e6), days)
    found = say.rsi(5).over(bars)  # type: ignore[misc]
    assert np.isnan(found[:60]).all()
    assert np.isfinite(found[61:]).all()


def test_percent_rank_and_connors_rsi_by_hand(panel: Panel) -> None:
    bars = listing_bars(panel, 0)
    found = column(panel, say.percent_rank(50))[: len(bars)]
    for i in (50, 51, 200):
        assert found[i] == 100.0 * np.mean(bars.close[i - 50 : i] < bars.close[i])
    assert np.isnan(found[:50]).all()

    streak = [0.0]
    for before, close in zip(bars.close[:-1], bars.close[1:], strict=True):
        side = float(np.sign(close - before))
        streak.append(side if side != np.sign(streak[-1]) else streak[-1] + side)
    change = ta.ROC(bars.close, 1)
    ranks = [np.nan] * 101 + [100.0 * np.mean(change[i - 100 : i] < change[i]) for i in range(101, len(bars))]
    expected = (ta.RSI(bars.close, 3) + ta.RSI(np.array(streak), 2) + np.array(ranks)) / 3
    np.testing.assert_allclose(column(panel, say.connors_rsi())[: len(bars)], expected, rtol=1e-9)


def test_the_indicator_of_another_symbol_is_its_bar_of_the_same_session(panel: Panel) -> None:
    found, spy = column(panel, say.sma(20).of("SPY")), column(panel, say.sma(20))
    place = panel.names.index("SPY")
    for bar in range(0, panel.bars, 7):
        theirs = panel.bar_at[panel.session[bar], place]
        expected = spy[theirs] if theirs >= 0 else np.nan
        assert found[bar] == expected or (np.isnan(found[bar]) and np.isnan(expected))
    assert np.isnan(found[panel.bar_at[100, 0]]), "SPY has no bar that day"
    assert np.isnan(column(panel, say.sma(20).of("XYZ"))).all()


def test_a_rank_is_among_the_listings_of_the_session() -> None:
    days = np.datetime64("2015-01-05") + np.arange(2)
    place, session = np.array([0, 1, 1, 2, 3]), np.array([0, 0, 1, 0, 0])
    close = np.array([10.0, 20.0, 5.0, 20.0, 40.0])
    columns = {name: close.copy() for name in ("open", "high", "low", "close", "volume")} | {"factor": np.ones(5)}
    panel = build_panel(("A", "B", "C", "D"), days, place, session, columns)
    found = column(panel, say.rank(say.price("close")))
    # Two share the ranks 1 and 2 of 0 to 3; alone in a session there is none.
    np.testing.assert_array_equal(found, [0.0, 0.5, np.nan, 0.5, 1.0])


@pytest.mark.parametrize(
    ("declare", "words"),
    [
        (lambda: say.sma(1), "2 to 100,000"),
        (lambda: say.ema(100_001), "2 to 100,000"),
        (lambda: say.sma(10**30), "2 to 100,000"),
        (lambda: say.atr(2.5), "whole number"),  # type: ignore[arg-type]
        (lambda: say.sma(5, price="closes"), "name one of"),
        (lambda: say.price("vwap"), "there are open"),
        (lambda: say.talib("NOPE"), "no such function"),
        (lambda: say.talib("ADX", period=14), "it has timeperiod"),
        (lambda: say.talib("ADX", timeperiod=0), "refuses"),
        (lambda: say.talib("MACD", output="signal"), "macdsignal"),
        (lambda: say.custom(3), "give a function"),  # type: ignore[arg-type]
        (lambda: say.rank("roc"), "give an indicator"),  # type: ignore[arg-type]
        (lambda: say.rsi(2).of(""), "name a symbol"),
        (lambda: say.sma(5, price=say.rank(say.roc(5))), "of the listing itself"),
    ],
)
def test_a_declaration_without_sense_is_refused_with_its_mend(declare: object, words: str) -> None:
    with pytest.raises(BadDeclaration, match=words):
        declare()  # type: ignore[operator]


def test_a_custom_function_cannot_change_the_bars(panel: Panel) -> None:
    def greedy(bars: say.ListingBars) -> np.ndarray:
        bars.close[:] = 0.0
        return bars.close

    def greedier(bars: say.ListingBars) -> np.ndarray:
        for values in (bars.open, bars.close, bars.volume, bars.session):
            values.flags.writeable = True
        return bars.close

    for function in (greedy, greedier):
        with pytest.raises(StrategyFault, match=r"test_language.py:\d+ \(ValueError.*a copy"):
            column(panel, say.custom(function))


def test_a_condition_cannot_change_what_it_reads() -> None:
    def greedy(at: Reading, _: object) -> np.ndarray:
        at.x.flags.writeable = True
        at.x[:] = 0.0
        return at.x > 0

    def greedier(at: Reading, _: object) -> np.ndarray:
        at.x = at.x + 1.0  # type: ignore[misc]
        return at.x > 0

    at = Reading(np.arange(4.0), {"x": np.ones(4)})
    for function, reason in ((greedy, r"ValueError.*a copy"), (greedier, "AttributeError.*only read")):
        with pytest.raises(StrategyFault, match=rf"test_language.py:\d+ \({reason}"):
            satisfied(one(x=say.sma(5), long=function), "long", at, {})
        assert at.x.tolist() == [1.0] * 4


def test_what_is_undefined_satisfies_no_condition_however_it_is_written() -> None:
    at = Reading(np.arange(4.0), {"x": np.array([np.nan, 1.0, 5.0, np.nan]), "y": np.ones(4)})
    strategy = one(x=say.sma(5), long=lambda at, _: ~(at.x > 3))
    assert satisfied(strategy, "long", at, {}).tolist() == [False, True, False, False]
    strategy = one(x=say.sma(5), long=lambda at, _: at.y > 0)
    assert satisfied(strategy, "long", at, {}).all(), "x is not read"


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_is_infinite_is_undefined_in_every_listing(panel: Panel, value: float) -> None:
    def at_every_third(bars: ListingBars) -> np.ndarray:
        return np.where(np.arange(len(bars)) % 3 == 0, value, bars.close)

    place = np.arange(panel.bars) - panel.start[panel.symbol]
    expected = np.where(place % 3 == 0, np.nan, panel.close)
    np.testing.assert_array_equal(column(panel, say.custom(at_every_third)), expected)


def test_what_a_masked_array_hides_is_undefined_and_satisfies_no_condition(panel: Panel) -> None:
    hidden = panel.close > np.median(panel.close)
    floats = say.custom(lambda bars: np.ma.masked_greater(bars.close, np.median(panel.close)))
    np.testing.assert_array_equal(column(panel, floats), np.where(hidden, np.nan, panel.close))
    whole = say.custom(lambda bars: np.ma.masked_greater(bars.close, np.median(panel.close)).astype(int))
    np.testing.assert_array_equal(column(panel, whole), np.where(hidden, np.nan, panel.close.astype(int)))
    at = Reading(np.arange(4.0), {"x": np.arange(4.0)})
    strategy = one(x=say.sma(5), long=lambda at, _: np.ma.masked_less(at.x, 2.0) >= 0.0)
    assert satisfied(strategy, "long", at, {}).tolist() == [False, False, True, True]
    masked = replace(strategy, score_long=lambda at: np.ma.masked_less(at.x, 2.0))
    assert scored(masked, "score_long", at).tolist()[2:] == [2.0, 3.0]
    assert np.isnan(scored(masked, "score_long", at)[:2]).all()


def test_a_signal_whose_score_is_no_number_is_none(panel: Panel) -> None:
    """It would have no place among the others, and no row in the table; what is undefined is no warning either."""

    def score(at: Reading) -> np.ndarray:
        return np.log(at.x) / (at.close > 20)

    market = market_of(panel)
    market = replace(market, indicators=replace(market.indicators, others={"x": column(panel, say.roc(3))}))
    strategy = replace(one(say.roc(3), long=lambda at, p: at.x > -5.0), score_long=score)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = find_candidates(panel, market.readable(), strategy, {})
        values_of(say.custom(lambda bars: 1.0 / (bars.close - bars.close)), listing_bars(panel, 0))
    assert len(found.bar) > 100
    assert np.isfinite(found.score).all()
    without = find_candidates(panel, market.readable(), replace(strategy, score_long=lambda at: at.x), {})
    assert len(without.bar) > len(found.bar)
    both = {"short": lambda at, p: at.x > -5.0, "score_short": lambda at: at.x}
    found = find_candidates(panel, market.readable(), replace(strategy, **both), {})
    assert sorted(found.bar.tolist()) == sorted(without.bar.tolist()), "a long without a score hides no short"
    assert {-1, 1} == set(found.side.tolist())


def one(x: Indicator, long: object = None) -> Strategy:
    """A strategy that buys on x."""
    return Strategy(
        name="one",
        summary="",
        indicators={"x": x},
        long=long or (lambda at, _: at.x > 0),  # type: ignore[arg-type]
        score_long=lambda at: at.close,
        leave_long=lambda at, _: at.x < 0,
    )


def market_of(panel: Panel) -> Market:
    from kobe_assets.graph.inputs import limits_of

    settings = Settings()
    costs = make_costs(panel.sessions, 1000.0, 0.0, 0.0, 0.0, 0.0, 0.0, ())
    tradable = np.ones(panel.bars, np.bool_)
    return Market(panel, compute_indicators(panel), tradable, 1, 1.0, costs, limits_of(settings))


def ranked_over_time(bars: say.ListingBars) -> np.ndarray:
    return bars.close.argsort().argsort() / len(bars)


PEEKING = {
    "tomorrow": lambda bars: np.append(bars.close[1:], np.nan) - bars.close,
    "a centred window": lambda bars: np.convolve(bars.close, np.ones(5) / 5, mode="same") - bars.close,
    "the mean of the whole column": lambda bars: bars.close - bars.close.mean(),
    "a rank over all of time": ranked_over_time,
    "filled from later": lambda bars: np.where(np.arange(len(bars)) % 3 == 0, bars.close, np.roll(bars.close, -1)),
    "its own length": lambda bars: np.full(len(bars), float(len(bars))),
}


@pytest.mark.parametrize(
    ("fault", "way"),
    [*((fault, "plain") for fault in PEEKING), *(("tomorrow", way) for way in ("ranked", "of another"))],
)
def test_a_custom_indicator_that_looks_ahead_is_caught(fault: str, way: str, panel: Panel) -> None:
    indicator = say.custom(PEEKING[fault])
    indicator = {"plain": indicator, "ranked": say.rank(indicator), "of another": indicator.of("SPY")}[way]
    known = {"one": one(indicator)}
    leak = signals_read_no_future(market_of(panel), {"one": {}}, cuts=[120, 200, 261], strategies=known)
    assert leak is not None
    assert str(proven_columns(known)[leak.column]) in ("the indicator x", "the entries of one", "the exits of one")


def first_filled_from_later(bars: say.ListingBars) -> np.ndarray:
    mean = np.convolve(bars.close, np.ones(20) / 20)[: len(bars)]
    return np.where(np.arange(len(bars)) < 19, mean[min(19, len(bars) - 1)], mean)


def test_a_warm_up_that_is_filled_from_later_bars_is_caught(panel: Panel) -> None:
    known = {"one": one(say.custom(first_filled_from_later))}
    leak = signals_read_no_future(market_of(panel), {"one": {}}, strategies=known)
    assert leak is not None
    assert leak.change == "noise"


MIXING: dict[str, Any] = {
    "the bar before in the array": {"long": lambda at, p: np.roll(at.close, 1) > at.close},
    "a running sum": {"long": lambda at, p: np.cumsum(at.x) % 2 < 1},
    "a place in the array": {"leave_long": lambda at, p: np.arange(len(at.close)) % 5 == 0},
    "a score by the place": {"score_long": lambda at: np.arange(len(at.close)) * 1.0},
}


@pytest.mark.parametrize("fault", MIXING)
def test_a_condition_that_answers_for_a_bar_by_its_neighbours_is_told_so(fault: str, panel: Panel) -> None:
    """`at` holds the listings one after another: what stands before a bar may be the last bar of another stock."""
    known = {"one": replace(one(say.sma(2)), **MIXING[fault])}
    text = describe_lookahead(market_of(panel), {"one": {}}, known)
    what = "exits" if "leave_long" in MIXING[fault] else "entries"
    assert text.startswith(f"the {what} of one of ")
    assert "with the order of the bars" in text or "cut off" in text


@pytest.mark.parametrize("fault", MIXING)
def test_the_order_of_the_bars_alone_shows_it(fault: str, panel: Panel) -> None:
    strategy = replace(one(say.sma(2)), **MIXING[fault])
    at = Reading(panel.close, {"x": panel.open})
    order = np.random.default_rng(1).permutation(panel.bars)
    found = mixed_bar(strategy, at, {}, order)
    assert found is not None
    assert found[0] == next(iter(MIXING[fault]))
    assert mixed_bar(one(say.sma(2)), at, {}, order) is None


def test_what_looks_back_is_no_leak(panel: Panel) -> None:
    honest = [say.custom(lambda bars: np.maximum.accumulate(bars.high)), say.rank(say.roc(20)), say.sma(20).of("SPY")]
    honest += [say.talib("ADX", timeperiod=14), say.connors_rsi(), say.percent_rank(30), say.zscore(20)]
    for indicator in honest:
        leak = signals_read_no_future(market_of(panel), {"one": {}}, cuts=[120, 261], strategies={"one": one(indicator)})
        assert leak is None, str(indicator)
