"""A small market on a loopback Polygon, a clock, and a vendor with little patience: what every test here starts from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kobe_resources.market_data.over_network import RetryBudget
from kobe_resources.market_data.polygon.client import PolygonClient
from kobe_resources.market_data.polygon.vendor import PolygonVendor
from kobe_resources.market_data.protocol import SilentProgress, SyncReport
from kobe_resources.settings.models import Settings
from kobe_resources.settings.secrets import Secrets
from kobe_resources.warehouse.store import Warehouse
from tests.support.loopback_polygon import KEY, LoopbackPolygon, Market, random_market

FRIDAY = dt.date(2026, 11, 20)
FRIDAY_NIGHT = dt.datetime(2026, 11, 21, 2, 0, tzinfo=dt.UTC)
HASTE = RetryBudget(
    connect_s=2.0,
    read_s=10.0,
    total_s=20.0,
    rate_wait_s=0.05,
    longest_rate_wait_s=1.0,
    first_backoff_s=0.01,
    longest_backoff_s=0.05,
    after_rate=4,
    after_server=3,
    after_transport=3,
    after_malformed=2,
)
BAR = ["open", "high", "low", "close", "volume", "vwap", "trades"]


@dataclass
class Shop:
    """One vendor, one warehouse, one loopback server; `now` is the vendor's clock."""

    server: LoopbackPolygon
    home: Path
    now: dt.datetime = FRIDAY_NIGHT
    key: str | None = KEY

    @property
    def warehouse(self) -> Warehouse:
        return Warehouse(self.home / "kobe.duckdb")

    def settings(
        self,
        options: bool = False,
        start: str | None = "2026-01-02",
        end: str | None = None,
        membership: str = "static",
        **polygon: Any,
    ) -> Settings:
        own = {"base_url": self.server.url, "calls_per_minute": 0, "in_flight": 4, **polygon}
        data = {"vendor": "polygon", "start": start, "end": end, "polygon": own}
        return Settings(data=data, universe={"require_options": options, "membership": membership})  # type: ignore[arg-type]

    def sync(self, progress: Any = None, force: bool = False, **settings: Any) -> SyncReport:
        secrets = Secrets(polygon_api_key=self.key)  # type: ignore[arg-type]
        vendor = PolygonVendor(self.settings(**settings), secrets, now=lambda: self.now, budget=HASTE)
        return vendor.sync(self.warehouse, progress or SilentProgress(), force)

    def stored(self) -> pd.DataFrame:
        """The stored bars as `served` gives them."""
        columns = ", ".join(BAR)
        return self.warehouse.frame(f"SELECT symbol, session, {columns} FROM daily_bars ORDER BY symbol, session")

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.warehouse.rows(sql)


def served(market: Market, first: str = "2026-01-02", last: str = "2026-11-20") -> pd.DataFrame:
    """The market's own bars of a span, as they must be stored."""
    bars = market.bars
    return bars[(bars["session"] >= first) & (bars["session"] <= last)][["symbol", "session", *BAR]].reset_index(drop=True)


def days_asked(shop: Shop) -> list[str]:
    """The days of the market that were asked for, sorted."""
    return sorted(path[-10:] for path in shop.server.paths("/grouped/"))


def assert_same_bars(stored: pd.DataFrame, wanted: pd.DataFrame) -> None:
    """Equal to the last bit, in every column."""
    assert len(stored) == len(wanted)
    assert stored["symbol"].tolist() == wanted["symbol"].tolist()
    assert stored["session"].dt.date.tolist() == wanted["session"].dt.date.tolist()
    for name in BAR:
        pd.testing.assert_series_equal(
            stored[name].astype(float), wanted[name].astype(float), check_exact=True, check_names=False
        )


@pytest.fixture
def market() -> Market:
    """Ten symbols, 260 sessions up to Wednesday 2026-11-25, so that there is a future to top up from."""
    return random_market(10, 260, seed=3, end=dt.date(2026, 11, 25))


@pytest.fixture
def server(market: Market) -> Iterator[LoopbackPolygon]:
    with LoopbackPolygon(market) as running:
        yield running


@pytest.fixture
def shop(server: LoopbackPolygon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("KOBE_HOME", str(tmp_path))
    return Shop(server, tmp_path)


@pytest.fixture
def client(server: LoopbackPolygon) -> Iterator[PolygonClient]:
    made = PolygonClient(KEY, server.url, calls_per_minute=0, in_flight=4, budget=HASTE)
    yield made
    made.close()


@pytest.fixture
def with_market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Market], Shop]]:
    """A shop for a market of the test's own."""
    running: list[LoopbackPolygon] = []
    monkeypatch.setenv("KOBE_HOME", str(tmp_path))

    def open_shop(market: Market) -> Shop:
        server = LoopbackPolygon(market)
        running.append(server.__enter__())
        return Shop(server, tmp_path)

    yield open_shop
    for server in running:
        server.__exit__(None, None, None)
