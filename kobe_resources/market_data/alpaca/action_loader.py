"""Corporate actions of one sync: splits, what concerns the candidates of the rest, and their cash dividends."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kobe_resources.calendar import NEW_YORK
from kobe_resources.market_data.alpaca.actions import MARKET_KINDS, Actions, Names
from kobe_resources.market_data.alpaca.client import AlpacaDataClient
from kobe_resources.market_data.alpaca.errors import AlpacaInvalidSymbol
from kobe_resources.market_data.alpaca.load import VENDOR, AlpacaLoad, stored_actions
from kobe_resources.market_data.alpaca.plan import (
    SYMBOLS_A_BATCH,
)
from kobe_resources.market_data.companions import (
    DIVIDEND,
    replace_actions,
    replace_dividends,
    replace_splits,
    split_off_impossible,
)
from kobe_resources.market_data.over_network import hash_of
from kobe_resources.market_data.polygon.checkpoints import (
    Mark,
    save_mark,
    save_refusals,
)
from kobe_resources.market_data.polygon.plan import Span
from kobe_resources.market_data.polygon.rows import RefusedRow

if TYPE_CHECKING:
    import duckdb


ACTIONS_BACK = dt.timedelta(days=100)
"""So old ex-dates are read once more: rows come weeks late (GE's split of December 2020 in January)."""
AHEAD = dt.timedelta(days=30)
SPLITS_LAG, DIVIDENDS_LAG = dt.timedelta(days=60), dt.timedelta(days=90)
"""The vendor selects by the day on which an action was processed, so far from its ex-date."""


class ActionLoader:
    """Reads and stores the corporate actions of a load."""

    def __init__(self, load: AlpacaLoad) -> None:
        self._load = load

    def window(self, kind: str, key: str, span: Span) -> Span | None:
        """The ex-dates to read; None where that was done.

        All of the span where candidates are new, or where it is asked for, since an old row may have been put right; else those
        around today.
        """
        known = self._load.state.marks.get(kind)
        until = self._load.today + AHEAD
        if self._load.force or known is None or known.key != key or known.span.first > span.first:
            return Span(span.first, until)
        if known.span.last == until:
            return None
        read = known.done_at.astimezone(NEW_YORK).date()
        return Span(max(span.first, min(read, self._load.today) - ACTIONS_BACK), until)

    def of_market(self, client: AlpacaDataClient, window: Span) -> Actions:
        found = Actions()
        self._load.progress.start("corporate actions of the market", 1, "lists")
        for page in client.actions(MARKET_KINDS, window.first - SPLITS_LAG, window.last + SPLITS_LAG):
            found.add(page)
        self._load.progress.advance()
        return found

    def store(
        self,
        connection: duckdb.DuckDBPyConnection,
        actions: Actions,
        symbols: Sequence[str],
        window: Span,
        key: str,
        at: dt.datetime,
    ) -> None:
        """Splits under the name that the company bears among the candidates; of the rest, what concerns candidates."""
        import pandas as pd

        wanted = {*symbols, *self._load.state.coverage}
        names = Names([*stored_actions(connection), *actions.others])
        splits = {
            split._replace(symbol=bearer)
            for split in actions.splits
            if (bearer := names.bearer(split.symbol, split.execution_date, wanted))
        }
        frame = pd.DataFrame(sorted(splits), columns=["symbol", "execution_date", "split_from", "split_to"])
        replace_splits(connection, frame, VENDOR, at, window.first, window.last)
        former = names.former(wanted)
        kept = [
            action
            for action in actions.others
            if action.symbol in wanted
            or action.symbol in former
            or (action.kind == "name_change" and action.other_symbol in wanted)
        ]
        replace_actions(
            connection,
            pd.DataFrame(kept, columns=["symbol", "ex_date", "kind", "other_symbol", "rate"], dtype=object),
            VENDOR,
            window.first,
            window.last,
        )
        self._tell_actions(connection, actions, at)
        self._save_window(connection, "actions", key, window, len(splits), at)

    def dividends(self, client: AlpacaDataClient, symbols: Sequence[str], names: Names, span: Span) -> None:
        """Cash dividends of the candidates and of their former names, in one transaction."""
        import pandas as pd

        key = hash_of(["dividends", *symbols])
        window = self.window("dividends", key, span)
        if window is None:
            return
        wanted = {*symbols, *self._load.state.coverage}
        asked = sorted((wanted | names.former(wanted)) - self._load.left_out.keys())
        found = Actions()
        self._load.progress.start(f"dividends of {len(asked):,} symbols", len(asked), "symbols")
        for place in range(0, len(asked), SYMBOLS_A_BATCH):
            some = asked[place : place + SYMBOLS_A_BATCH]
            for page in self._dividend_pages(client, some, window):
                found.add(page)
            self._load.progress.advance(len(some))
        rows = {
            dividend._replace(symbol=bearer)
            for dividend in found.dividends
            if (bearer := names.bearer(dividend.symbol, dividend.ex_date, wanted))
        }
        frame = pd.DataFrame(list(rows), columns=DIVIDEND, dtype=object)
        at = self._load.now()
        with self._load.warehouse.transaction() as connection:
            frame, beyond = split_off_impossible(connection, frame, *window)
            replace_dividends(connection, frame, VENDOR, at, window.first, window.last)
            save_refusals(connection, [RefusedRow(*row) for row in beyond], at, VENDOR)
            self._tell_actions(connection, found, at)
            self._save_window(connection, "dividends", key, window, len(rows), at)

    def _dividend_pages(
        self, client: AlpacaDataClient, symbols: Sequence[str], window: Span
    ) -> Iterator[dict[str, list[object]]]:
        rest = list(symbols)
        while rest:
            try:
                yield from client.actions(("cash_dividend",), window.first - SPLITS_LAG, window.last + DIVIDENDS_LAG, rest)
                return
            except AlpacaInvalidSymbol as error:
                self._load.leave_out(error, rest)

    def _tell_actions(self, connection: duckdb.DuckDBPyConnection, actions: Actions, at: dt.datetime) -> None:
        counted = {f"corporate actions of the unknown kind {kind}": count for kind, count in actions.unknown.items()}
        counted |= {f"dividends in {currency}": count for currency, count in actions.foreign.items()}
        for what, count in counted.items():
            # One line a kind: the count of an earlier reading is replaced.
            connection.execute(
                "DELETE FROM bar_refusals WHERE vendor = ? AND symbol = '' AND reason LIKE ?", [VENDOR, f"{what}: %"]
            )
            self._load.counted[f"{what} left out"] += count
        refused = [*actions.refused, *(RefusedRow("", None, f"{what}: {count}") for what, count in counted.items())]
        save_refusals(connection, refused, at, VENDOR)

    def _save_window(
        self, connection: duckdb.DuckDBPyConnection, kind: str, key: str, window: Span, rows: int, at: dt.datetime
    ) -> None:
        known = self._load.state.marks.get(kind)
        first = min(window.first, known.span.first) if known and known.key == key else window.first
        save_mark(connection, kind, Mark(key, Span(first, window.last), rows, at), VENDOR)
