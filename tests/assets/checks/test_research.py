"""The checks catch what they are for: every planted fault below is one that has been sold as a strategy somewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kobe_assets.checks.research import (
    cash_is_conserved,
    describe_leak,
    describe_lookahead,
    entries_follow_signals,
    figures_are_complete,
    leak_place,
    signals_read_no_future,
    windows_are_disjoint,
)
from kobe_assets.graph.frames import indicators_frame
from kobe_assets.graph.inputs import canonical_params, load_market, load_panel
from kobe_assets.research.indicators import Indicators, compute_indicators
from kobe_assets.research.language import ListingBars, custom, ibs
from kobe_assets.research.panel import Panel
from kobe_assets.research.signals import find_candidates
from kobe_assets.research.strategies import STRATEGIES
from kobe_assets.research.strategies.register import columns_of
from kobe_assets.research.walk_forward import Market
from kobe_assets.wf_folds import run_studies, study_tables
from kobe_resources.market_data import open_vendor
from kobe_resources.settings.load import load_settings
from kobe_resources.settings.models import Settings
from kobe_resources.settings.secrets import Secrets
from kobe_resources.warehouse.store import Warehouse


@pytest.fixture(scope="module")
def settings() -> Settings:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOBE_DATA__VENDOR", "synthetic")
        patch.setenv("KOBE_DATA__SYNTHETIC__SYMBOLS", "12")
        patch.setenv("KOBE_DATA__SYNTHETIC__SESSIONS", "700")
        patch.setenv("KOBE_POLICY__ALLOW_SHORTS", "true")
        return load_settings()


@pytest.fixture(scope="module")
def market(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Market:
    from kobe_assets.selection.eligibility import build_universe

    warehouse = Warehouse(tmp_path_factory.mktemp("market") / "kobe.duckdb")
    open_vendor(settings, Secrets()).sync(warehouse)
    panel = load_panel(warehouse)
    warehouse.replace(
        {
            "universe": build_universe(warehouse, settings),
            "indicators": indicators_frame(panel, compute_indicators(panel)),
        }
    )
    return load_market(warehouse, settings, panel)


@pytest.fixture(scope="module")
def params(settings: Settings) -> dict[str, dict[str, float]]:
    return {name: canonical_params(settings, strategy) for name, strategy in STRATEGIES.items()}


@pytest.fixture(scope="module")
def tables(market: Market, settings: Settings) -> dict[str, pd.DataFrame]:
    return study_tables(run_studies(market, settings), market, settings)


def by_symbol(panel: Panel, values: Callable[[pd.Series], pd.Series]) -> np.ndarray:
    return pd.Series(panel.close).groupby(panel.symbol).transform(values).to_numpy()


PLANTED: dict[str, Callable[[Panel, Indicators], Indicators]] = {
    "a shift of minus one": lambda panel, right: replace(right, sma200=np.append(right.sma200[1:], np.nan)),
    "a centred window": lambda panel, right: replace(
        right, sma200=by_symbol(panel, lambda close: close.rolling(200, center=True, min_periods=50).mean())
    ),
    "a whole-column mean": lambda panel, right: replace(
        right,
        sma200=np.where(np.isnan(right.sma200), np.nan, by_symbol(panel, lambda close: pd.Series(close.mean(), close.index))),
    ),
    "a gap filled from later": lambda panel, right: replace(
        right, ibs=pd.Series(right.ibs).where(right.ibs > 0.5).bfill().to_numpy()
    ),
}


def test_the_real_signals_read_no_future(market: Market, params: dict[str, dict[str, float]]) -> None:
    assert sum(len(find_candidates(market.panel, market.readable(), s, params[n]).bar) for n, s in STRATEGIES.items()) > 200
    assert signals_read_no_future(market, params) is None


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_look_into_the_future_is_caught(fault: str, market: Market, params: dict[str, dict[str, float]]) -> None:
    def compute(panel: Panel) -> Indicators:
        return PLANTED[fault](panel, compute_indicators(panel))

    leak = signals_read_no_future(market, params, compute)
    assert leak is not None


PEEKING: dict[str, dict[str, Callable[..., np.ndarray]]] = {
    "tomorrow's close": {"long": lambda at, p: (np.roll(at.close, -1) > at.close) & (at.close > at.sma200)},
    "tomorrow's strength": {"long": lambda at, p: (np.append(at.ibs[2:], [0.5, 0.5]) > 0.8) & (at.close > at.sma200)},
    "the mean of all closes": {"long": lambda at, p: at.close > at.close.mean()},
    "out before the fall": {"leave_long": lambda at, p: np.roll(at.close, -1) < at.close},
}


@pytest.mark.parametrize("fault", PEEKING)
def test_a_strategy_that_peeks_is_caught_on_five_stocks(
    fault: str, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = Warehouse(tmp_path / "kobe.duckdb")
    open_vendor(Settings(), Secrets()).sync(warehouse)
    panel = load_panel(warehouse)
    universe = pd.DataFrame({"symbol": panel.symbols, "selected": True})
    warehouse.replace({"universe": universe, "indicators": indicators_frame(panel, compute_indicators(panel))})
    rsi2 = STRATEGIES["rsi2"]
    indicators = {**rsi2.indicators, "ibs": ibs()}
    monkeypatch.setitem(STRATEGIES, "rsi2", replace(rsi2, indicators=indicators, **PEEKING[fault]))  # type: ignore[arg-type]
    assert signals_read_no_future(
        load_market(warehouse, settings, panel), {name: canonical_params(settings, s) for name, s in STRATEGIES.items()}
    )


def test_a_strategy_that_throws_dice_is_told_so_and_not_that_it_peeks(
    market: Market, params: dict[str, dict[str, float]]
) -> None:
    dice = np.random.default_rng(1)
    tossing = replace(STRATEGIES["ibs"], long=lambda at, p: (at.ibs < 0.2) & (dice.random(len(at.close)) < 0.5))
    text = describe_lookahead(market, {"ibs": params["ibs"]}, {"ibs": tossing})
    assert "the entries of ibs of" in text
    assert "is another each time it is computed, so nothing can be proven (" in text


def test_dice_of_one_strategy_are_not_blamed_on_another_that_peeks(market: Market, params: dict[str, dict[str, float]]) -> None:
    dice = np.random.default_rng(1)
    tossing = replace(STRATEGIES["ibs"], long=lambda at, p: (at.ibs < 0.2) & (dice.random(len(at.close)) < 0.5))
    over_its_mean = custom(lambda bars: bars.close - bars.close.mean())
    peeking = replace(STRATEGIES["rsi2"], indicators={**STRATEGIES["rsi2"].indicators, "over_its_mean": over_its_mean})
    known = {"rsi2": peeking, "ibs": tossing}
    own = replace(market, indicators=compute_indicators(market.panel, columns_of(known.values())))
    text = describe_lookahead(own, {name: params[name] for name in known}, known)
    assert "over_its_mean of" in text
    assert "each time" not in text


def test_a_filter_by_fourier_transform_that_rounds_by_all_bars_is_no_leak(
    market: Market, params: dict[str, dict[str, float]]
) -> None:
    def above_its_mean(bars: ListingBars) -> np.ndarray:
        size = 2 * len(bars) + 10
        spectrum = np.fft.rfft(bars.close, size) * np.fft.rfft(np.full(10, 0.1), size)
        return np.asarray(bars.close - np.fft.irfft(spectrum, size)[: len(bars)])

    def peeking(bars: ListingBars) -> np.ndarray:
        return above_its_mean(bars) * (1.0 + 1e-6 * np.append(bars.close[1:], 1.0) / bars.close)

    honest = STRATEGIES["ibs"]
    for function, leaks in ((above_its_mean, False), (peeking, True)):
        known = {"ibs": replace(honest, indicators={**honest.indicators, "above": custom(function)})}
        own = replace(market, indicators=compute_indicators(market.panel, columns_of(known.values())))
        assert bool(describe_lookahead(own, {"ibs": params["ibs"]}, known)) == leaks


def test_a_leak_is_told_with_the_file_and_line_of_what_leaks(market: Market, params: dict[str, dict[str, float]]) -> None:
    def ahead(bars: ListingBars) -> np.ndarray:
        return np.roll(bars.close, -1)

    honest = STRATEGIES["ibs"]
    peeking = replace(honest, indicators={**honest.indicators, "ahead": custom(ahead)})
    rolling = replace(honest, long=lambda at, p: np.roll(at.close, -1) > at.close)
    for strategy, what, place in (
        (peeking, "the indicator ahead of ", f"{__file__}:{ahead.__code__.co_firstlineno}"),
        (rolling, "the entries of ibs of ", rolling.place),
    ):
        known = {"ibs": strategy}
        declared = columns_of(known.values())
        own = replace(market, indicators=compute_indicators(market.panel, declared))
        leak = signals_read_no_future(own, {"ibs": params["ibs"]}, strategies=known)
        assert leak is not None
        assert describe_leak(leak, known).startswith(what)
        assert leak_place(leak, known) == place


def test_a_reading_without_its_lag_is_no_leak_but_a_negative_one_is(
    market: Market, params: dict[str, dict[str, float]]
) -> None:
    assert signals_read_no_future(replace(market, lag=0), params) is None


def test_real_folds_are_disjoint_conserve_cash_and_fill_after_their_signals(
    market: Market, settings: Settings, tables: dict[str, pd.DataFrame]
) -> None:
    folds, trades, equity = tables["wf_folds"], tables["wf_trades"], tables["wf_equity"]
    assert len(trades) > 100
    assert windows_are_disjoint(folds, trades).empty
    assert cash_is_conserved(folds, trades, equity, settings.simulation.initial_cash).empty
    assert entries_follow_signals(market.panel, trades, market.costs.slippage).empty


def test_a_same_bar_fill_is_caught(market: Market, tables: dict[str, pd.DataFrame]) -> None:
    trades = tables["wf_trades"].copy()
    trades.loc[3, "signal_session"] = trades.loc[3, "entry_session"]
    assert list(entries_follow_signals(market.panel, trades, market.costs.slippage).index) == [3]


def test_a_fill_at_the_close_is_caught(market: Market, tables: dict[str, pd.DataFrame]) -> None:
    trades = tables["wf_trades"].copy()
    trades.loc[5, "entry_price"] *= 1.0001
    assert list(entries_follow_signals(market.panel, trades, market.costs.slippage).index) == [5]


def test_a_fill_at_a_limit_lies_between_the_best_price_and_the_open_with_its_slippage(
    market: Market, tables: dict[str, pd.DataFrame]
) -> None:
    panel, trades = market.panel, tables["wf_trades"].head(200).copy()
    names, days = list(panel.names), panel.sessions.tolist()
    bars = panel.bars_at(
        np.array([names.index(name) for name in trades["symbol"]]),
        np.array([days.index(pd.Timestamp(day).date()) for day in trades["entry_session"]]),
    )
    side = np.where(trades["side"] == "long", 1, -1)
    best = np.where(side > 0, panel.low[bars], panel.high[bars])

    def beyond(price: np.ndarray) -> int:
        given = trades.assign(entry_price=price)
        return len(entries_follow_signals(panel, given, slippage=0.05, at_limits=set(trades["entered_by"])))

    at_limit = panel.open[bars] * (1 + side * 0.025)
    assert (at_limit > panel.high[bars]).any()
    assert beyond(at_limit) == beyond(best) == 0
    assert beyond(best * (1 - side * 1e-6)) == beyond(panel.open[bars] * (1 + side * 0.051)) == len(trades)


def test_a_cent_that_appears_from_nowhere_is_caught(settings: Settings, tables: dict[str, pd.DataFrame]) -> None:
    trades = tables["wf_trades"].copy()
    trades.loc[7, "pnl"] += 0.01
    wrong = cash_is_conserved(tables["wf_folds"], trades, tables["wf_equity"], settings.simulation.initial_cash)
    assert len(wrong) == 1
    assert wrong.iloc[0]["fold"] == trades.loc[7, "fold"]


def test_an_equity_that_is_not_a_number_is_caught(settings: Settings, tables: dict[str, pd.DataFrame]) -> None:
    equity = tables["wf_equity"].copy()
    equity.loc[equity.index[-1], "equity"] = np.nan
    assert len(cash_is_conserved(tables["wf_folds"], tables["wf_trades"], equity, settings.simulation.initial_cash)) == 1


def test_overlapping_windows_and_stray_trades_are_caught(tables: dict[str, pd.DataFrame]) -> None:
    folds, trades = tables["wf_folds"].copy(), tables["wf_trades"].copy()
    folds.loc[1, "test_start"] = folds.loc[0, "test_end"]
    assert "overlaps" in windows_are_disjoint(folds, trades)["problem"].iloc[0]
    trades.loc[0, "exit_session"] = trades["exit_session"].max() + pd.Timedelta(days=400)
    assert windows_are_disjoint(tables["wf_folds"], trades)["problem"].str.contains("outside").sum() == 1


def test_missing_infinite_and_unexplained_figures_are_caught() -> None:
    from kobe_assets.report.analysis.stored_curves import WHY
    from kobe_assets.research.metrics import FIGURES

    names = list(dict.fromkeys([*FIGURES, *WHY]))
    kpis = pd.DataFrame({"strategy": "rsi2", "mode": "canonical", "figure": names, "value": 1.0})
    none = pd.DataFrame(columns=["strategy", "mode", "figure", "reason"])
    book = [("rsi2", "canonical")]
    assert figures_are_complete(kpis, none, book).empty
    kpis.loc[0, "value"], kpis.loc[1, "value"] = np.inf, np.nan
    assert list(figures_are_complete(kpis.iloc[:-1], none, book)["problem"]) == [
        "is not finite",
        "is null without a reason",
        "is missing",
    ]
