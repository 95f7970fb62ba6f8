"""When bars count as out of date at their source."""

from __future__ import annotations

import datetime as dt

import pytest

from kobe_jobs import source
from kobe_resources.settings import load_settings


class Clock(dt.datetime):
    moment = dt.datetime(2026, 11, 20, 22, 0, tzinfo=dt.UTC)

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]
        return cls.moment.astimezone(tz)


@pytest.fixture
def polygon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_DATA__VENDOR", "polygon")
    monkeypatch.setattr(source.dt, "datetime", Clock)


def test_a_market_that_goes_on_is_out_of_date_after_each_session(polygon: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYGON_API_KEY", "key")
    friday = source.source_fingerprint(load_settings())
    monkeypatch.setattr(Clock, "moment", dt.datetime(2026, 11, 22, 12, 0, tzinfo=dt.UTC))
    assert source.source_fingerprint(load_settings()) == friday
    monkeypatch.setattr(Clock, "moment", dt.datetime(2026, 11, 23, 22, 0, tzinfo=dt.UTC))
    assert source.source_fingerprint(load_settings()) != friday


def test_without_a_key_what_is_stored_counts_as_it_is(polygon: None, monkeypatch: pytest.MonkeyPatch) -> None:
    before = source.source_fingerprint(load_settings())
    monkeypatch.setattr(Clock, "moment", dt.datetime(2026, 12, 22, 12, 0, tzinfo=dt.UTC))
    assert source.source_fingerprint(load_settings()) == before


def test_a_source_that_cannot_be_read_still_has_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_DATA__VENDOR", "files")
    monkeypatch.setenv("KOBE_DATA__FILES__PATH", "/nowhere/bars.csv")
    assert source.lenient_fingerprint(load_settings()).startswith("unreadable")
