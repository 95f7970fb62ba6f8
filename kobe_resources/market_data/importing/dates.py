"""Dates as files write them, decided over a whole column: ISO, day or month first, in words, Excel's numbers, time stamps."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from kobe_resources.calendar import NEW_YORK
from kobe_resources.market_data.protocol import MarketDataError

MOST_ODD = 0.01
"""Share of a column's dates that may be of another kind than the rest."""
FIRST_SERIAL, LAST_SERIAL = 15_000, 80_000
"""Excel's days from 1941 to 2119."""
EXCEL_DAY_0 = dt.date(1899, 12, 30)
EPOCH_UNITS = {9: 1, 10: 1, 12: 10**3, 13: 10**3, 15: 10**6, 16: 10**6, 18: 10**9, 19: 10**9}
"""Digits of a count since 1970 → its ticks a second."""
_TIME = r"(?:[T ,]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,]\d+)?)? ?([AaPp][Mm])?)?"
_ZONE = r" ?(Z|UTC|GMT|E[SD]?T|EST5EDT|US/Eastern|America/New_York|[+-]\d{2}(?::?\d{2})?(?::\d{2})?)?(?:\[[^\]]*\])?"
_ISO = re.compile(rf"(\d{{4}})[-/.](\d{{1,2}})[-/.](\d{{1,2}}){_TIME}{_ZONE}")
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})(?:\.0)?(?:[T ]?0{2,6}|[T ]+\d{1,2}:\d{2}(?::\d{2})?(?: US/Eastern)?)?")
_PARTED = re.compile(rf"(\d{{1,2}})([-/.])(\d{{1,2}})\2(\d{{4}}|\d{{2}}){_TIME}{_ZONE}")
_NUMBER = re.compile(r"(\d+)(?:\.\d*)?")
_WORDS = re.compile(
    rf"(?:[^\W\d]{{2,9}}[,.]? )?(?:(\d{{1,2}})[ -.]+)?([^\W\d]{{3,9}})\.?[ -]*(?:(\d{{1,2}}),? )?[ -]*(\d{{4}}|\d{{2}}){_TIME}"
)
_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            *("jan january januar ene enero", "feb february februar febrero", "mar march mär märz mrz marzo"),
            *("apr april abr abril", "may mai mayo", "jun june juni junio", "jul july juli julio", "aug august ago agosto"),
            *("sep sept september septiembre", "oct october okt oktober octubre", "nov november noviembre"),
            "dec december dez dezember dic diciembre",
        ),
        1,
    )
    for name in names.split()
}
ORDERS = {"dmy": "day/month/year", "mdy": "month/day/year"}


class Dates(NamedTuple):
    """text → session, None where it is no date; and how they were read, in words."""

    days: dict[str, dt.date | None]
    how: str


def read_dates(texts: Iterable[str], order: str | None, usual: str | None = None) -> Dates:
    """The sessions that the column's different texts name.

    order: `dmy` or `mdy` as the person says; usual: as the exporter always writes. Without either the column itself must show
    which it is. A time with a zone counts by the exchange's date, except at midnight, which is a date already. Raises
    MarketDataError where the order cannot be known, or where dates of two kinds are mixed.
    """
    texts = list(texts)
    kinds = {text: _kind(_bare(text)) for text in texts}
    counted = Counter(kind for kind in kinds.values() if kind)
    if not counted:
        return Dates(dict.fromkeys(texts), "no dates")
    main = counted.most_common(1)[0][0]
    odd = [text for text, kind in kinds.items() if kind and kind != main]
    if len(odd) > MOST_ODD * len(texts):
        usual_one = next(text for text in texts if kinds[text] == main)
        raise MarketDataError(
            f"dates of two kinds in one column, {usual_one!r} and {odd[0]!r}: a spreadsheet may have turned days and months",
            "export the file again, with dates as text",
        )
    way = _order([text for text in texts if kinds[text] == "parted"], order, usual) if main == "parted" else "dmy"
    days = {text: _day(_bare(text), main, way) if kinds[text] == main else None for text in texts}
    return Dates(days, ORDERS[way] if main == "parted" else _SAID[main])


def suit_better_turned(texts: Iterable[str], how: str) -> bool:
    """Whether a file's dates, each of which has two readings, lie less at weekends, or nearer together, by the other order.

    how: the order that other files of their export have, as `Dates.how`.
    """
    texts = list(texts)
    read, turned = (
        [day for day in read_dates(texts, order).days.values() if day]
        for order in sorted(ORDERS, key=lambda order: ORDERS[order] != how)
    )
    return bool(read and turned) and _scatter(turned) < _scatter(read)


def _scatter(days: list[dt.date]) -> tuple[int, int]:
    """How many lie at weekends, and over how many days all of them."""
    return sum(day.weekday() > 4 for day in days), (max(days) - min(days)).days


_SAID = {
    "iso": "year-month-day",
    "compact": "YYYYMMDD",
    "words": "month by name",
    "serial": "Excel's day numbers",
    "epoch": "time since 1970",
}


def _bare(text: str) -> str:
    # A byte order mark stands in the middle of files that were put one under the other.
    return text.strip().strip("\ufeff").strip()


def _kind(text: str) -> str | None:
    if _ISO.fullmatch(text):
        return "iso"
    if _PARTED.fullmatch(text):
        return "parted"
    number = _NUMBER.fullmatch(text)
    if number and len(number[1]) in EPOCH_UNITS:
        return "epoch"
    if number and FIRST_SERIAL <= int(number[1]) <= LAST_SERIAL:
        return "serial"
    if _COMPACT.fullmatch(text):
        return "compact"
    found = _WORDS.fullmatch(text)
    return "words" if found and found[2].casefold() in _MONTHS and (found[1] or found[3]) else None


def _order(texts: list[str], order: str | None, usual: str | None) -> str:
    if order:
        return order
    parts = [found for text in texts if (found := _PARTED.fullmatch(_bare(text)))]
    day_first = next((found[0] for found in parts if int(found[1]) > 12), None)
    month_first = next((found[0] for found in parts if int(found[3]) > 12), None)
    if day_first and month_first:
        raise MarketDataError(
            f"{day_first} has the day first, {month_first} the month",
            "export it again with one kind of dates, or import the files of each kind by themselves",
        )
    if day_first or month_first:
        return "dmy" if day_first else "mdy"
    if all(found[2] == "." for found in parts):
        return "dmy"
    if usual:
        return usual
    raise MarketDataError(
        f"{parts[0][0]} may be {' or '.join(ORDERS.values())}, and no date of the column tells which",
        "say --dates mdy or --dates dmy",
    )


def _day(text: str, kind: str, order: str) -> dt.date | None:
    try:
        return _DAYS[kind](text, order)
    except (ValueError, OverflowError, OSError):
        return None


def _iso_day(text: str, _: str) -> dt.date:
    year, month, day, *clock, zone = _found(_ISO, text).groups()
    return _exchange_day(dt.date(int(year), int(month), int(day)), clock, zone)


def _parted_day(text: str, order: str) -> dt.date:
    first, _, second, year, *clock, zone = _found(_PARTED, text).groups()
    day, month = (first, second) if order == "dmy" else (second, first)
    return _exchange_day(dt.date(_year(year), int(month), int(day)), clock, zone)


def _compact_day(text: str, _: str) -> dt.date:
    year, month, day = _found(_COMPACT, text).groups()
    return dt.date(int(year), int(month), int(day))


def _word_day(text: str, _: str) -> dt.date:
    before, month, after, year = _found(_WORDS, text).groups()[:4]
    return dt.date(_year(year), _MONTHS[month.casefold()], int(before or after))


def _serial_day(text: str, _: str) -> dt.date:
    return EXCEL_DAY_0 + dt.timedelta(days=int(_found(_NUMBER, text)[1]))


def _epoch_day(text: str, _: str) -> dt.date:
    digits = _found(_NUMBER, text)[1]
    moment = dt.datetime.fromtimestamp(int(digits) // EPOCH_UNITS[len(digits)], dt.UTC)
    return moment.date() if moment.time() == dt.time() else moment.astimezone(NEW_YORK).date()


_DAYS = {
    "iso": _iso_day,
    "parted": _parted_day,
    "compact": _compact_day,
    "words": _word_day,
    "serial": _serial_day,
    "epoch": _epoch_day,
}


def _exchange_day(day: dt.date, clock: list[str | None], zone: str | None) -> dt.date:
    """The exchange's date of a moment. Midnight is no moment of trading but how a date is written with a zone."""
    hour, minute, second, half = clock
    if hour is None or zone is None or zone.startswith(("E", "US", "America")):
        return day
    at = dt.time(int(hour) % 12 + 12 * (half.lower() == "pm") if half else int(hour), int(minute or 0), int(second or 0))
    if at == dt.time():
        return day
    return dt.datetime.combine(day, at, _offset(zone)).astimezone(NEW_YORK).date()


def _offset(zone: str) -> dt.tzinfo:
    if zone in ("Z", "UTC", "GMT"):
        return dt.UTC
    digits = zone[1:].replace(":", "").ljust(4, "0")
    ahead = dt.timedelta(hours=int(digits[:2]), minutes=int(digits[2:4]))
    return dt.timezone(-ahead if zone[0] == "-" else ahead)


def _year(text: str) -> int:
    year = int(text)
    return year if len(text) == 4 else year + (2000 if year < 70 else 1900)


def _found(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    found = pattern.fullmatch(text)
    if not found:
        raise ValueError(text)
    return found
