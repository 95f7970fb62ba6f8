"""How fast stored bars become evidence: 950 symbols × 2,520 sessions, seed fixed. Run by `make bench`; fails on nothing slow.

The market is made and written once; CSV rows are shuffled, as nobody promised an order.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import duckdb
import pytest

from kobe_assets.checks.bars import check_bars
from kobe_assets.selection.eligibility import build_universe
from kobe_assets.selection.membership import build_membership
from kobe_resources.market_data.local.files import FilesVendor
from kobe_resources.market_data.local.synthetic import SyntheticVendor, first_sessions, make_market
from kobe_resources.settings.models import DataSettings, FilesData, Settings, SyntheticData
from kobe_resources.warehouse.store import Warehouse

SYMBOLS, SESSIONS, SEED, START = 950, 2520, 7, dt.date(2010, 1, 4)
MARKET = DataSettings(vendor="synthetic", synthetic=SyntheticData(symbols=SYMBOLS, sessions=SESSIONS, seed=SEED, start=START))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """The market, stored."""
    warehouse = Warehouse(tmp_path_factory.mktemp("market") / "kobe.duckdb")
    SyntheticVendor(MARKET).sync(warehouse)
    return warehouse


@pytest.fixture(scope="module")
def csv_folder(stored: Warehouse) -> Path:
    """The market as bars.csv."""
    folder = stored.path.parent
    with duckdb.connect() as connection:
        connection.execute("ATTACH ? AS store (READ_ONLY)", [str(stored.path)])
        bars = "SELECT * EXCLUDE (source, fetched_at) FROM store.daily_bars ORDER BY hash(symbol, session)"
        connection.sql(bars).write_csv(str(folder / "bars.csv"))
    return folder


def once(benchmark: Any, work: Any, *given: Any) -> Any:
    return benchmark.pedantic(work, args=given, rounds=3, iterations=1, warmup_rounds=1)


def test_make_a_synthetic_market(benchmark: Any) -> None:
    days = first_sessions(START, SESSIONS)
    market = once(benchmark, make_market, SYMBOLS, days, SEED)
    assert market.bars["symbol"].nunique() == SYMBOLS


def test_read_and_check_a_csv(benchmark: Any, csv_folder: Path, stored: Warehouse) -> None:
    vendor = FilesVendor(DataSettings(vendor="files", files=FilesData(path=csv_folder)))
    read = once(benchmark, vendor.read)
    assert [(len(read.bars),)] == stored.rows("SELECT count(*) FROM daily_bars")


def test_adjusted_prices_evidence_and_checks(benchmark: Any, stored: Warehouse) -> None:
    settings = Settings(data=MARKET, universe={"require_options": False, "min_years": 9})  # type: ignore[arg-type]

    def derive() -> int:
        checks = check_bars(stored, settings)
        build_universe(stored, settings)
        assert stored.rows("SELECT count(*) FROM adjusted_bars WHERE close > 0")[0][0]
        return len(checks)

    assert once(benchmark, derive) > 10


def test_point_in_time_membership(benchmark: Any, stored: Warehouse) -> None:
    settings = Settings(data=MARKET, universe={"membership": "point_in_time", "cap": 500})  # type: ignore[arg-type]
    assert len(once(benchmark, build_membership, stored, settings)) > 500
