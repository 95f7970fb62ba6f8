"""The XNYS calendar: sessions, half days, and its edges."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kobe_resources import calendar

UTC = dt.UTC
some_days = st.dates(dt.date(1951, 1, 1), dt.date(2099, 12, 1))


def test_known_holidays_and_special_days_are_no_sessions() -> None:
    closed = ["2001-09-11", "2012-10-29", "2018-12-05", "2021-12-24", "2024-03-29", "2024-07-04", "2024-06-01"]
    assert not any(calendar.is_session(dt.date.fromisoformat(day)) for day in closed)
    assert all(calendar.is_session(dt.date.fromisoformat(day)) for day in ["2001-09-10", "2001-09-17", "2024-07-05"])
    assert len(calendar.sessions(dt.date(2023, 1, 1), dt.date(2023, 12, 31))) == 250


def test_sessions_include_both_ends_and_an_empty_span_has_none() -> None:
    week = calendar.sessions(dt.date(2024, 7, 1), dt.date(2024, 7, 5))
    assert week.tolist() == [dt.date(2024, 7, day) for day in (1, 2, 3, 5)]
    assert len(calendar.sessions(dt.date(2024, 7, 5), dt.date(2024, 7, 1))) == 0


def test_closes_follow_summer_time_and_half_days() -> None:
    assert calendar.close_time(dt.date(2024, 7, 2)) == dt.datetime(2024, 7, 2, 20, tzinfo=UTC)
    assert calendar.close_time(dt.date(2024, 7, 3)) == dt.datetime(2024, 7, 3, 17, tzinfo=UTC)
    assert calendar.open_time(dt.date(2024, 12, 2)) == dt.datetime(2024, 12, 2, 14, 30, tzinfo=UTC)


def test_the_latest_complete_session_changes_at_the_close_even_on_half_days() -> None:
    before, at = dt.datetime(2024, 11, 29, 17, 59, 59, tzinfo=UTC), dt.datetime(2024, 11, 29, 18, tzinfo=UTC)
    assert calendar.latest_complete_session(before) == dt.date(2024, 11, 27)
    assert calendar.latest_complete_session(at) == dt.date(2024, 11, 29)
    assert calendar.latest_complete_session(at, delay=dt.timedelta(hours=1)) == dt.date(2024, 11, 27)
    new_york = dt.timezone(dt.timedelta(hours=-5))
    assert calendar.latest_complete_session(dt.datetime(2024, 12, 2, 15, 59, tzinfo=new_york)) == dt.date(2024, 11, 29)
    assert calendar.latest_complete_session(dt.datetime(2024, 12, 2, 16, 0, tzinfo=new_york)) == dt.date(2024, 12, 2)


def test_the_open_session_is_known_within_its_hours_only() -> None:
    assert calendar.open_session(dt.datetime(2024, 7, 3, 13, 29, 59, tzinfo=UTC)) is None
    assert calendar.open_session(dt.datetime(2024, 7, 3, 13, 30, tzinfo=UTC)) == dt.date(2024, 7, 3)
    assert calendar.open_session(dt.datetime(2024, 7, 3, 16, 59, tzinfo=UTC)) == dt.date(2024, 7, 3)
    assert calendar.open_session(dt.datetime(2024, 7, 3, 17, 0, tzinfo=UTC)) is None
    assert calendar.open_session(dt.datetime(2024, 7, 4, 15, 0, tzinfo=UTC)) is None


@settings(max_examples=60, deadline=None)
@given(some_days)
def test_the_previous_session_is_the_neighbour_in_the_list(day: dt.date) -> None:
    around = calendar.sessions(day - dt.timedelta(days=20), day + dt.timedelta(days=20))
    assert calendar.previous_session(day) == around[around < np.datetime64(day)][-1].item()
    assert calendar.is_session(day) == (np.datetime64(day) in around)


def test_the_previous_session_lies_before_the_longest_close_of_the_exchange() -> None:
    assert calendar.previous_session(dt.date(2001, 9, 17)) == dt.date(2001, 9, 10)


def test_the_near_and_the_far_schedule_agree() -> None:
    near = calendar.sessions(dt.date(1985, 1, 1), dt.date(2020, 12, 31))
    far = calendar.sessions(dt.date(1984, 12, 31), dt.date(2020, 12, 31))
    assert far[1:].tolist() == near.tolist()


def test_days_outside_naive_moments_and_non_sessions_are_refused_with_the_range() -> None:
    with pytest.raises(calendar.CalendarError, match="1950-01-01 to 2100-12-31"):
        calendar.is_session(dt.date(1901, 1, 2))
    with pytest.raises(calendar.CalendarError, match="2250-01-01"):
        calendar.sessions(dt.date(2020, 1, 1), dt.date(2250, 1, 1))
    with pytest.raises(calendar.CalendarError, match="is no XNYS session"):
        calendar.close_time(dt.date(2024, 7, 4))
    with pytest.raises(calendar.CalendarError, match="no time zone"):
        calendar.latest_complete_session(dt.datetime(2024, 7, 4, 12))


def test_importing_the_calendar_loads_no_heavy_library() -> None:
    script = "import sys, kobe_resources.calendar; print({'exchange_calendars', 'pandas', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"
