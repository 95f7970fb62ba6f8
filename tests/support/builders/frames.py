"""Small frames in the shapes that the store takes. Trusts its caller for sense in the numbers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import pandas as pd

from kobe_resources import calendar
from kobe_resources.market_data.changes import Load

NOON = dt.datetime(2024, 6, 3, 12, tzinfo=dt.UTC)


def days(count: int, start: dt.date = dt.date(2020, 1, 2)) -> list[dt.date]:
    """The first `count` sessions from `start`."""
    return [day.item() for day in calendar.sessions(start, start + dt.timedelta(days=count * 2 + 10))[:count]]


def bar(symbol: str, session: dt.date, close: float = 10.0, volume: float = 1000.0, **fields: float) -> dict[str, object]:
    """One bar around `close`."""
    row = {"open": close, "high": close * 1.01, "low": close * 0.99, "close": close, "volume": volume}
    return {"symbol": symbol, "session": pd.Timestamp(session), **row, **fields}


def bars(rows: Sequence[dict[str, object]]) -> pd.DataFrame:
    """Rows as the frame that the store takes."""
    return pd.DataFrame(rows, columns=list(dict.fromkeys(key for row in rows for key in row)) or None)


def splits(*rows: tuple[str, dt.date, float, float]) -> pd.DataFrame:
    """(symbol, execution_date, split_from, split_to) rows."""
    return pd.DataFrame(rows, columns=["symbol", "execution_date", "split_from", "split_to"])


def load(
    rows: Sequence[dict[str, object]], split_rows: pd.DataFrame | None = None, options: dict[str, bool] | None = None
) -> Load:
    """All that a source has; its candidates are the symbols with bars."""
    frame = bars(rows)
    return Load(
        frame,
        splits() if split_rows is None else split_rows,
        pd.DataFrame({"symbol": sorted({str(row["symbol"]) for row in rows})}),
        pd.DataFrame({"symbol": list(options or {}), "has_options": list((options or {}).values())}),
    )
