"""When bars count as out of date at their source."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from kobe_jobs.research_run import vendor_freshness
from kobe_resources.settings.load import load_settings
from kobe_resources.warehouse.store import Warehouse


@pytest.fixture
def polygon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_DATA__VENDOR", "polygon")


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """Bars up to Friday, 20 November 2026."""
    found = Warehouse(tmp_path / "kobe.duckdb")
    found.rows("INSERT INTO daily_bars VALUES ('A', '2026-11-20', 1, 1, 1, 1, 1, NULL, NULL, 'polygon', now())")
    return found


@pytest.mark.parametrize(
    ("moment", "wanted"),
    [
        (dt.datetime(2026, 11, 20, 22, 0, tzinfo=dt.UTC), False),
        (dt.datetime(2026, 11, 22, 12, 0, tzinfo=dt.UTC), False),
        (dt.datetime(2026, 11, 23, 18, 0, tzinfo=dt.UTC), False),
        (dt.datetime(2026, 11, 23, 22, 0, tzinfo=dt.UTC), True),
    ],
)
def test_a_market_that_goes_on_is_topped_up_after_each_session(
    polygon: None, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, moment: dt.datetime, wanted: bool
) -> None:
    monkeypatch.setenv("POLYGON_API_KEY", "key")
    assert vendor_freshness.needs_top_up(load_settings(), warehouse, moment) is wanted


def test_without_a_key_or_with_an_end_what_is_stored_counts_as_it_is(
    polygon: None, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = dt.datetime(2026, 12, 22, 12, 0, tzinfo=dt.UTC)
    assert not vendor_freshness.needs_top_up(load_settings(), warehouse, later)
    monkeypatch.setenv("POLYGON_API_KEY", "key")
    assert vendor_freshness.needs_top_up(load_settings(), warehouse, later)
    monkeypatch.setenv("KOBE_DATA__END", "2026-11-20")
    assert not vendor_freshness.needs_top_up(load_settings(), warehouse, later)


def test_a_source_that_cannot_be_read_still_has_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_DATA__VENDOR", "files")
    monkeypatch.setenv("KOBE_DATA__FILES__PATH", "/nowhere/bars.csv")
    assert vendor_freshness.lenient_fingerprint(load_settings()).startswith("unreadable")
