"""The wait that an HTTP answer asks for: `Retry-After`, as a number of seconds or as a date."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that `Retry-After` asks for; None where it is not there, or says nothing usable. now: seconds since 1970.

    A date counts from the answer's own `Date` where it has one, because the clock of this machine may be wrong.
    """
    header = headers.get("Retry-After")
    wait = number_of(header)
    if wait is None:
        at = moment_of(header)
        wait = None if at is None else max(0.0, at - server_time(headers, now))
    return wait


def server_time(headers: Mapping[str, str], now: float) -> float:
    """When the answer was given, in seconds since 1970 by the server's clock; `now` where it does not say."""
    at = moment_of(headers.get("Date"))
    return now if at is None else at


def number_of(text: str | None) -> float | None:
    """A finite number that is not negative; None where `text` is none."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None


def moment_of(text: str | None) -> float | None:
    """An HTTP date in seconds since 1970; None where `text` is none, or names no time zone."""
    try:
        at = parsedate_to_datetime(text or "")
        return None if at.tzinfo is None else at.timestamp()
    except (ValueError, OverflowError):
        return None
