"""`kobe bars refresh` over a network: one symbol's bars asked for again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pandas as pd
import pytest

from kobe_assets.checks.seen import Mends
from kobe_resources.warehouse.store import Warehouse
from tests.support.drivers.command import kobe
from tests.support.loopback_alpaca import KEY_ID, SECRET, AlpacaMarket, LoopbackAlpaca, alpaca_market
from tests.support.loopback_polygon import LoopbackPolygon, Market, random_market

pytestmark = pytest.mark.usefixtures("home")
LAST = dt.date(2026, 11, 20)
MISPRINTED = 30
"""Place of a bar in the middle of the first symbol's."""


def polygon(bars: pd.DataFrame) -> LoopbackPolygon:
    return LoopbackPolygon(Market(bars))


def alpaca(bars: pd.DataFrame) -> LoopbackAlpaca:
    return LoopbackAlpaca(AlpacaMarket(bars, now=dt.datetime.now(dt.UTC)))


def misprinted(bars: pd.DataFrame) -> pd.DataFrame:
    spoiled = bars.copy()
    spoiled.loc[MISPRINTED, ["open", "high", "low", "close"]] *= 10
    return spoiled


@pytest.mark.parametrize(
    ("vendor", "serve", "bars"),
    [
        ("polygon", polygon, random_market(3, 60, 3, LAST).bars),
        ("alpaca", alpaca, alpaca_market(3, 60, 3, LAST).bars),
    ],
)
def test_the_bars_of_one_symbol_are_asked_for_again_and_no_others(
    vendor: str,
    serve: Callable[[pd.DataFrame], LoopbackPolygon],
    bars: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = bars["symbol"].unique()[:2]
    for name, value in {"ALPACA_API_KEY_ID": KEY_ID, "ALPACA_API_SECRET_KEY": SECRET}.items():
        monkeypatch.setenv(name, value)
    settings = {"vendor": vendor, "start": str(bars["session"].min().date()), "end": str(LAST)}
    with serve(misprinted(bars)) as server:
        monkeypatch.setenv("POLYGON_API_KEY", server.key)
        addresses = ("base_url",) if vendor == "polygon" else ("base_url", "assets_url")
        for name, value in {**settings, **{f"{vendor}__{each}": server.url for each in addresses}}.items():
            monkeypatch.setenv(f"KOBE_DATA__{name.upper()}", value)
        monkeypatch.setenv("KOBE_UNIVERSE__REQUIRE_OPTIONS", "false")
        assert kobe("bars", "refresh").code == 0
        mend = f"`kobe bars refresh --symbol {first}`"
        assert mend in " ".join(kobe("bars", "doctor", "--json").out.split())
        server.market = serve(bars).market
        assert "1 restated" in " ".join(kobe("bars", "refresh", "--symbol", first).out.split())
        assert mend not in " ".join(kobe("bars", "doctor", "--json").out.split())
        said = kobe("bars", "revisions", "--symbol", second).out
        assert "nothing was read" in kobe("bars", "refresh").out
    closes = Warehouse().rows("SELECT close FROM daily_bars ORDER BY symbol, session")
    assert [row[0] for row in closes] == bars["close"].tolist()
    assert "No bar" in said


def test_who_is_no_candidate_and_bars_that_are_read_whole_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--symbol" not in Mends("sample").bar("AAPL")
    assert "sample is read whole" in kobe("bars", "refresh", "--symbol", "AAPL").line
    monkeypatch.setenv("KOBE_DATA__VENDOR", "polygon")
    assert "XYZ is no candidate of polygon" in kobe("bars", "refresh", "--symbol", "XYZ").line
