"""The sample is what it says: real, raw, in order; and the store, once loaded, is left alone."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from kobe_resources import calendar
from kobe_resources.market_data import MarketDataError, open_vendor
from kobe_resources.market_data.local.sample import SampleVendor
from kobe_resources.market_data.store import replace_all
from kobe_resources.settings.load import load_settings
from kobe_resources.settings.models import DataSettings
from kobe_resources.settings.secrets import load_secrets
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders.frames import NOON, bar, load


@pytest.fixture(scope="module")
def bars():
    return SampleVendor(DataSettings()).read().bars


def test_the_sample_is_the_default_vendor_and_holds_five_stocks(warehouse: Warehouse) -> None:
    report = open_vendor(load_settings(), load_secrets()).sync(warehouse)
    assert (report.vendor, report.bars, report.symbols, report.sessions, report.added) == ("sample", 12154, 5, 3270, 12154)
    assert (report.first_session, report.last_session) == (dt.date(2000, 3, 1), dt.date(2013, 3, 1))
    assert warehouse.rows("SELECT symbol FROM candidates ORDER BY ALL") == [("AAPL",), ("FB",), ("GOOG",), ("IBM",), ("MSFT",)]


def test_every_bar_is_ordered_and_lies_on_a_session(bars) -> None:
    assert (bars["high"] >= bars[["open", "close", "low"]].max(axis=1)).all()
    assert (bars["low"] <= bars[["open", "close"]].min(axis=1)).all()
    days = calendar.sessions(dt.date(2000, 3, 1), dt.date(2013, 3, 1))
    assert np.isin(bars["session"].to_numpy().astype("datetime64[D]"), days).all()


def test_prices_are_as_traded_and_the_splits_explain_every_jump_but_the_crash(warehouse: Warehouse) -> None:
    SampleVendor(DataSettings()).sync(warehouse)
    assert warehouse.rows("SELECT close FROM daily_bars WHERE symbol = 'AAPL' AND session = '2000-03-01'") == [(130.31,)]
    jumps = warehouse.rows(
        "SELECT symbol, session FROM (SELECT symbol, session, abs(ln(close / lag(close) OVER (PARTITION BY symbol ORDER BY"
        " session))) AS move FROM adjusted_bars) WHERE move > ln(1.3)"
    )
    assert jumps == [("AAPL", dt.date(2000, 9, 29))]


def test_an_edit_in_the_store_stays_until_the_source_is_forced(warehouse: Warehouse) -> None:
    vendor = SampleVendor(DataSettings())
    vendor.sync(warehouse)
    version = warehouse.content_version("daily_bars")
    with warehouse.transaction() as connection:
        connection.execute("UPDATE daily_bars SET close = close * 1.001 WHERE symbol = 'IBM' AND session = '2005-01-05'")
    again = vendor.sync(warehouse)
    assert again.skipped
    assert warehouse.content_version("daily_bars") != version
    forced = vendor.sync(warehouse, force=True)
    assert (forced.changed, forced.revisions, forced.unchanged) == (1, 1, 12153)
    assert warehouse.content_version("daily_bars") == version


def test_the_span_of_the_settings_is_what_is_stored(warehouse: Warehouse) -> None:
    data = DataSettings(start=dt.date(2005, 1, 3), end=dt.date(2005, 12, 30))
    report = SampleVendor(data).sync(warehouse)
    assert (report.first_session, report.last_session) == (data.start, data.end)
    assert SampleVendor(data).fingerprint() != SampleVendor(DataSettings()).fingerprint()
    narrowed = SampleVendor(DataSettings(start=dt.date(2005, 1, 3), end=dt.date(2005, 6, 30))).sync(warehouse)
    assert narrowed.removed > 0
    assert narrowed.last_session == dt.date(2005, 6, 30)


@pytest.mark.parametrize("source", ["files", "polygon"])
def test_a_forgotten_setting_does_not_replace_bars_that_only_a_person_has(warehouse: Warehouse, source: str) -> None:
    replace_all(warehouse, load([bar("A", dt.date(2020, 1, 2))]), source, source, "print", NOON)
    with pytest.raises(MarketDataError, match=rf"holds 1 bars loaded from {source}.*KOBE_CONFIG.*another KOBE_HOME"):
        SampleVendor(DataSettings()).sync(warehouse)
    assert warehouse.rows("SELECT symbol FROM daily_bars") == [("A",)]
    assert SampleVendor(DataSettings()).sync(warehouse, force=True).added == 12154


def test_a_span_without_bars_is_refused(warehouse: Warehouse) -> None:
    with pytest.raises(MarketDataError, match=r"no bars .*widen data\.start"):
        SampleVendor(DataSettings(start=dt.date(2020, 1, 2))).sync(warehouse)
    assert warehouse.rows("SELECT count(*) FROM daily_bars") == [(0,)]
