"""Polygon's splits and dividends: the whole span where candidates are new or it is asked for, else what lies around today."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from kobe_resources.calendar import NEW_YORK
from kobe_resources.market_data.companions import DIVIDEND, replace_dividends, replace_splits, split_off_impossible
from kobe_resources.market_data.over_network import hash_of
from kobe_resources.market_data.polygon.checkpoints import VENDOR, LoadState, Mark, save_mark, save_refusals
from kobe_resources.market_data.polygon.errors import PolygonEntitlementError, PolygonNotFound
from kobe_resources.market_data.polygon.plan import Span
from kobe_resources.market_data.polygon.rows import Listing, RefusedRow, dividend_rows, split_rows, stable_read

if TYPE_CHECKING:
    import duckdb

    from kobe_resources.market_data.polygon.client import PolygonClient
    from kobe_resources.warehouse.store import Warehouse

SPLITS_BACK = dt.timedelta(days=10)
SPLITS_AHEAD = dt.timedelta(days=30)
DIVIDENDS_BACK = dt.timedelta(days=30)
DIVIDENDS_AHEAD = dt.timedelta(days=90)
DIVIDENDS_LAST = dt.timedelta(days=7)
"""They are announced weeks ahead: a list that reaches three months on is read anew after this long."""


class Splits(NamedTuple):
    """What the vendor has for a window. key: for which candidates."""

    listing: Listing
    window: Span
    key: str


class PolygonActions:
    """Asks for splits and dividends, and stores them with their checkpoints. notes: what the person should know of them."""

    def __init__(
        self, client: PolygonClient, warehouse: Warehouse, state: LoadState, now: Callable[[], dt.datetime], force: bool
    ) -> None:
        self.notes: tuple[str, ...] = ()
        self._client = client
        self._warehouse = warehouse
        self._state = state
        self._now = now
        self._force = force
        self._today = now().astimezone(NEW_YORK).date()

    def splits(self, symbols: list[str], span: Span) -> Splits | None:
        """All splits of the span where candidates are new or it is asked for, since an old row may have been put right; else
        those around today; None where they were read today.
        """
        known = self._state.marks.get("splits")
        key = hash_of(symbols)
        until = self._today + SPLITS_AHEAD
        whole = self._force or known is None or known.key != key or known.span.first > span.first
        if known is None or whole:
            window = Span(span.first, until)
        else:
            read = known.done_at.astimezone(NEW_YORK).date()
            back = self._today - SPLITS_BACK
            window = Span(back if read >= back else read - SPLITS_BACK, until)
            if known.span.last == until:
                return None
        last = self._state.last_split
        twice = whole or (last is not None and last >= window.first)
        listing = stable_read(lambda: split_rows(self._client.splits(*window, twice=twice)))
        return Splits(listing, window, key)

    def store_splits(self, connection: duckdb.DuckDBPyConnection, splits: Splits, wanted: set[str], at: dt.datetime) -> None:
        import pandas as pd

        rows = [row for row in splits.listing.rows if row[0] in wanted]
        frame = pd.DataFrame(rows, columns=["symbol", "execution_date", "split_from", "split_to"])
        frame["execution_date"] = pd.to_datetime(frame["execution_date"])
        replace_splits(connection, frame, VENDOR, at, splits.window.first, splits.window.last)
        save_refusals(connection, splits.listing.refused, at)
        known = self._state.marks.get("splits")
        first = min(splits.window.first, known.span.first) if known and known.key == splits.key else splits.window.first
        save_mark(connection, "splits", Mark(splits.key, Span(first, splits.window.last), len(rows), at))

    def dividends(self, symbols: list[str], span: Span) -> None:
        """All dividends of the span where candidates are new or it is asked for, else weekly those around today; a plan without
        is reported.
        """
        import pandas as pd

        known = self._state.marks.get("dividends")
        key = hash_of(symbols)
        until = self._today + DIVIDENDS_AHEAD
        whole = self._force or known is None or known.key != key or known.span.first > span.first
        if known is not None and not whole and self._now() - known.done_at < DIVIDENDS_LAST:
            return
        read = known.done_at.astimezone(NEW_YORK).date() if known else self._today
        window = Span(span.first if whole else max(span.first, min(read, self._today) - DIVIDENDS_BACK), until)
        wanted = {*symbols, *self._state.coverage}
        try:
            listing = stable_read(lambda: dividend_rows(self._client.dividends(*window, twice=whole), wanted))
        except (PolygonEntitlementError, PolygonNotFound) as error:
            self.notes += (f"no dividends are loaded: {error.what}",)
            return
        at = self._now()
        frame = pd.DataFrame(listing.rows, columns=DIVIDEND, dtype=object)
        first = min(window.first, known.span.first) if known and not whole else window.first
        with self._warehouse.transaction() as connection:
            frame, beyond = split_off_impossible(connection, frame, *window)
            replace_dividends(connection, frame, VENDOR, at, *window)
            save_refusals(connection, [RefusedRow(*row) for row in beyond], at)
            foreign = [RefusedRow("", None, f"dividends in {currency}") for currency in listing.foreign]
            save_refusals(connection, [*listing.refused, *foreign], at)
            save_mark(connection, "dividends", Mark(key, Span(first, until), len(listing.rows), at))
        self.notes += tuple(f"{count:,} dividends in {currency} left out" for currency, count in listing.foreign.items())
