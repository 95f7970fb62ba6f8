"""What the steps of one sync share: the store, the clock, what is known already, and what has come to be counted."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from kobe_resources.calendar import NEW_YORK
from kobe_resources.market_data.alpaca.actions import Action
from kobe_resources.market_data.alpaca.errors import AlpacaInvalidSymbol
from kobe_resources.market_data.changes import Changes
from kobe_resources.market_data.polygon.checkpoints import (
    LoadState,
    save_refusals,
)
from kobe_resources.market_data.polygon.rows import RefusedRow, printable

if TYPE_CHECKING:
    import duckdb

    from kobe_resources.market_data.protocol import Progress
    from kobe_resources.settings.models import Settings
    from kobe_resources.warehouse.store import Warehouse

VENDOR = "alpaca"
FIRST_DAY = dt.date(2016, 1, 4)
"""The vendor has nothing before it."""
INVALID = "Alpaca takes it for no symbol"
TRIES = 3


class AlpacaLoad:
    """The state of one sync. left_out: symbols that the vendor does not take for any; counted: what the person should know."""

    def __init__(
        self, settings: Settings, warehouse: Warehouse, progress: Progress, now: Callable[[], dt.datetime], force: bool
    ) -> None:
        self.settings = settings
        self.alpaca = settings.data.alpaca
        self.warehouse = warehouse
        self.progress = progress
        self.now = now
        self.force = force
        self.today = now().astimezone(NEW_YORK).date()
        self.state = LoadState()
        self.invalid: set[str] = set()
        self.twins: set[str] = set()
        self.changes = Changes()
        self.counted: Counter[str] = Counter()
        self.left_out: dict[str, None] = {}
        self.without_bars: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the person should know, a line each."""
        lines = [f"{count:,} {what}" for what, count in sorted(self.counted.items()) if count]
        if self.left_out:
            names = ", ".join(list(self.left_out)[:10]) + (", …" if len(self.left_out) > 10 else "")
            lines.append(f"left out, since Alpaca takes them for no symbols: {names}")
        return (*lines, *self.without_bars)

    def leave_out(self, error: AlpacaInvalidSymbol, rest: list[str]) -> None:
        """Take the symbol that the vendor names out of a call, and keep its name; raises where it names another."""
        named = next((symbol for symbol in rest if symbol.upper() == error.symbol.upper()), None)
        if named is None:
            raise error
        rest.remove(named)
        self.left_out[named] = None
        with self.warehouse.transaction() as connection:
            save_refusals(connection, [RefusedRow(printable(named), None, INVALID)], self.now(), VENDOR)


def stored_actions(connection: duckdb.DuckDBPyConnection) -> list[Action]:
    rows = connection.execute("SELECT symbol, ex_date, kind, other_symbol, rate FROM corporate_actions ORDER BY ALL").fetchall()
    return [Action(*row) for row in rows]
