"""The wait that an answer asks for."""

from __future__ import annotations

import datetime as dt

import pytest

from kobe_resources.runtime.retry_after import retry_after_s

NOW = dt.datetime(2026, 11, 22, 8, 0, tzinfo=dt.UTC).timestamp()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("17", 17.0),
        ("1.5", 1.5),
        (" 0 ", 0.0),
        ("soon", None),
        ("nan", None),
        ("-5", None),
        ("", None),
        ("Sun, 22 Nov 2026 08:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 07:00:00 GMT", 0.0),
        ("Sun, 22 Nov 2026 08:00:30", None),
        ("Sun, 22 Nov 2026 08:00:30 -0000", None),
    ],
)
def test_retry_after_is_read_in_both_its_forms(header: str | None, seconds: float | None) -> None:
    assert retry_after_s({} if header is None else {"Retry-After": header}, NOW) == seconds


def test_a_date_counts_from_the_servers_own_clock() -> None:
    headers = {"Retry-After": "Sun, 22 Nov 2026 08:00:30 GMT", "Date": "Sun, 22 Nov 2026 08:00:10 GMT"}
    assert retry_after_s(headers, NOW - 3600) == 20.0
