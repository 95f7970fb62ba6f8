"""Invented bars: the same at any size, plausible, and with the troubles of real ones."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from kobe_resources import calendar
from kobe_resources.market_data import MarketDataError
from kobe_resources.market_data.changes import Load
from kobe_resources.market_data.local.synthetic import SyntheticVendor, first_sessions, make_market
from kobe_resources.settings.models import DataSettings, SyntheticData
from kobe_resources.warehouse.store import Warehouse

START = dt.date(2010, 1, 4)
DAYS = first_sessions(START, 1500)


@pytest.fixture(scope="module")
def market() -> Load:
    return make_market(300, DAYS, 7)


def vendor(**wanted: object) -> SyntheticVendor:
    return SyntheticVendor(DataSettings(vendor="synthetic", synthetic=SyntheticData(**wanted)))  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 17, 257])
def test_a_symbols_bars_do_not_depend_on_how_many_symbols_there_are(market: Load, count: int) -> None:
    few = make_market(count, DAYS, 7)
    names = set(few.candidates["symbol"])
    pd.testing.assert_frame_equal(few.bars, market.bars[market.bars["symbol"].isin(names)].reset_index(drop=True))
    pd.testing.assert_frame_equal(few.splits, market.splits[market.splits["symbol"].isin(names)].reset_index(drop=True))


def test_more_sessions_only_append(market: Load) -> None:
    short = make_market(300, DAYS[:700], 7).bars
    expected = market.bars[market.bars["session"] < DAYS[700]].reset_index(drop=True)
    pd.testing.assert_frame_equal(short, expected)


def test_another_seed_gives_other_bars(market: Load) -> None:
    other = make_market(3, DAYS[:50], -8).bars
    mine = make_market(3, DAYS[:50], 7).bars
    assert not np.isin(other["close"].to_numpy(), mine["close"].to_numpy()).any()


def test_every_bar_is_plausible_and_lies_on_a_session(market: Load) -> None:
    bars = market.bars
    assert (bars["high"] >= bars[["open", "close", "low"]].max(axis=1)).all()
    assert (bars["low"] <= bars[["open", "close"]].min(axis=1)).all()
    assert (bars["low"] > 0).all()
    assert (bars["volume"] > 0).all()
    assert bars["vwap"].between(bars["low"], bars["high"]).mean() > 0.999
    assert np.isin(bars["session"].to_numpy().astype("datetime64[D]"), DAYS).all()
    assert not bars.duplicated(["symbol", "session"]).any()
    assert list(DAYS) == list(calendar.sessions(START, DAYS[-1].item()))


def test_the_market_has_late_listings_delistings_halts_and_single_missing_sessions(market: Load) -> None:
    lives = market.bars.groupby("symbol")["session"].agg(["min", "max", "size"])
    place = {np.datetime64(day): number for number, day in enumerate(DAYS)}
    first = lives["min"].map(lambda day: place[day.to_datetime64().astype("datetime64[D]")])
    last = lives["max"].map(lambda day: place[day.to_datetime64().astype("datetime64[D]")])
    missing = last - first + 1 - lives["size"]
    assert len(lives) == 300
    assert 0.05 < (first > 3).mean() < 0.2
    assert 0.03 < (last < len(DAYS) - 5).mean() < 0.15
    assert 0.01 < (missing > 3).mean() < 0.08
    assert 0.1 < missing.between(1, 3).mean() < 0.7
    active = market.candidates.set_index("symbol")["active"]
    assert not active[lives.index[last < len(DAYS) - 5]].any()


def test_raw_prices_jump_at_splits_and_adjusted_ones_do_not(market: Load) -> None:
    bars = market.bars.sort_values(["symbol", "session"])
    move = np.log(bars["close"] / bars.groupby("symbol")["close"].shift())
    keyed = pd.Series(move.to_numpy(), index=pd.MultiIndex.from_frame(bars[["symbol", "session"]]))
    splits = market.splits.set_index(["symbol", "execution_date"])
    expected = np.log(splits["split_from"] / splits["split_to"])
    at_splits = keyed.reindex(expected.index).dropna()
    assert len(at_splits) > 20
    assert (at_splits - expected.reindex(at_splits.index)).abs().max() < 0.34
    assert keyed.drop(at_splits.index).abs().max() < 1.0
    assert (expected > 0).any()
    assert (expected < 0).any()


def test_prices_revert_within_days_and_volume_rises_on_big_moves(market: Load) -> None:
    bars = market.bars[market.bars["symbol"] < "S00100"]
    move = np.log(bars["close"]).groupby(bars["symbol"]).diff()
    calm = move.abs() < 0.3
    after = move.groupby(bars["symbol"]).shift(-1)
    fell, rose = after[calm & (move < -0.03)], after[calm & (move > 0.03)]
    assert fell[fell.abs() < 0.3].mean() > rose[rose.abs() < 0.3].mean() + 0.002
    usual = bars["volume"] / bars.groupby("symbol")["volume"].transform("median")
    assert usual[calm & (move.abs() > 0.05)].mean() > 1.3 * usual[move.abs() < 0.005].mean()
    assert move[calm].kurt() > 1.0


def test_the_vendor_stores_it_and_another_seed_is_another_source(warehouse: Warehouse) -> None:
    small = {"symbols": 4, "sessions": 120, "start": START}
    first = vendor(**small, seed=1).sync(warehouse)
    assert (first.symbols, first.sessions) == (4, 120)
    assert vendor(**small, seed=1).sync(warehouse).skipped
    grown = vendor(symbols=5, sessions=125, start=START, seed=1).sync(warehouse)
    assert (grown.changed, grown.removed, grown.revisions) == (0, 0, 0)
    assert grown.unchanged == first.bars
    other = vendor(**small, seed=2).sync(warehouse)
    assert (other.revisions, other.unchanged) == (0, 0)
    assert warehouse.rows("SELECT count(*) FROM option_evidence") == [(4,)]


def test_more_sessions_than_the_calendar_has_are_refused() -> None:
    with pytest.raises(MarketDataError, match=r"lower data\.synthetic\.sessions"):
        first_sessions(dt.date(2099, 1, 2), 1000)
