"""A small market on a loopback Alpaca, a clock, and a vendor with little budget: what every test here starts from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kobe_resources.market_data.alpaca.vendor import AlpacaVendor
from kobe_resources.market_data.over_network import RetryBudget
from kobe_resources.market_data.protocol import SyncReport
from kobe_resources.settings.models import Settings
from kobe_resources.settings.secrets import Secrets
from kobe_resources.warehouse.store import Warehouse
from tests.support.loopback_alpaca import KEY_ID, SECRET, AlpacaMarket, LoopbackAlpaca

SATURDAY = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)
SUNDAY = SATURDAY + dt.timedelta(days=1)
HASTE = RetryBudget(
    total_s=5.0,
    rate_wait_s=0.05,
    longest_rate_wait_s=2.0,
    first_backoff_s=0.01,
    longest_backoff_s=0.05,
    after_rate=4,
    after_server=3,
    after_transport=3,
    after_malformed=2,
)
BAR = ["open", "high", "low", "close", "volume", "vwap", "trades"]


@dataclass
class Watched:
    """Progress that remembers."""

    phases: list[str] = field(default_factory=list)

    def start(self, what: str, total: int, unit: str) -> None:
        self.phases.append(what)

    def advance(self, count: int = 1, note: str = "") -> None:
        """Nothing to draw."""


@dataclass
class Shop:
    """One vendor, one warehouse, one loopback server; `now` is the clock of both."""

    server: LoopbackAlpaca
    home: Path
    key_id: str | None = KEY_ID
    budget: RetryBudget = HASTE

    @property
    def market(self) -> AlpacaMarket:
        return self.server.market

    @property
    def warehouse(self) -> Warehouse:
        return Warehouse(self.home / "kobe.duckdb")

    def candidates(self, *lines: str, header: str = "symbol") -> Path:
        path = self.home / "symbols.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        return path

    def settings(self, start: str | None = None, end: str | None = None, options: bool = False, **alpaca: Any) -> Settings:
        own = {"base_url": self.server.url, "assets_url": self.server.url, "calls_per_minute": 0, **alpaca}
        data = {"vendor": "alpaca", "start": start, "end": end, "alpaca": own}
        return Settings(data=data, universe={"require_options": options})  # type: ignore[arg-type]

    def sync(self, progress: Any = None, force: bool = False, **settings: Any) -> SyncReport:
        secrets = Secrets(alpaca_api_key_id=self.key_id, alpaca_api_secret_key=SECRET)  # type: ignore[arg-type]
        vendor = AlpacaVendor(self.settings(**settings), secrets, now=lambda: self.market.now, budget=self.budget)
        return vendor.sync(self.warehouse, progress or Watched(), force)

    def stored(self) -> pd.DataFrame:
        columns = ", ".join(BAR)
        return self.warehouse.frame(f"SELECT symbol, session, {columns} FROM daily_bars ORDER BY symbol, session")

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.warehouse.rows(sql)


def served(market: AlpacaMarket, first: str = "2016-01-04", last: str = "2026-11-20") -> pd.DataFrame:
    """The market's own bars of a span, as they must be stored."""
    bars = market.bars
    return bars[(bars["session"] >= first) & (bars["session"] <= last)][["symbol", "session", *BAR]].reset_index(drop=True)


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
def with_market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Shop]]:
    """A shop for a market of the test's own."""
    running: list[LoopbackAlpaca] = []
    monkeypatch.setenv("KOBE_HOME", str(tmp_path / "home"))

    def open_shop(market: AlpacaMarket, page_limit: int | None = None) -> Shop:
        server = LoopbackAlpaca(market, page_limit=page_limit)
        running.append(server)
        server.__enter__()
        return Shop(server, tmp_path / "home")

    yield open_shop
    for server in running:
        server.__exit__(None, None, None)
