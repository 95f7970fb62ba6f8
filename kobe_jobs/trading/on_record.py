"""The account on record: ledger, embedded broker's file and stored bars, without asking any broker.

For commands that only look: nothing is written, no clock is moved, no key is needed.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from kobe_resources import calendar
from kobe_resources.broker.hosts import Stage
from kobe_resources.broker.open import embedded_folder
from kobe_resources.errors import KobeError
from kobe_resources.market_data.store import refuse_other_source
from kobe_resources.order_ledger import OrderLedger
from kobe_resources.order_ledger.fills import cash_of_fills
from kobe_resources.order_ledger.sessions import DONE, claim_of, last_reconciliation
from kobe_resources.settings.load import kobe_home
from kobe_resources.settings.models import Settings
from kobe_resources.settings.secrets import load_secrets
from kobe_resources.warehouse.store import Warehouse

A_LONG_HOLIDAY = dt.timedelta(days=15)


class NothingToLookAt(KobeError):
    """There are no bars yet, so that there is nothing to trade on."""


@dataclass(frozen=True)
class OnRecord:
    """The account of the stage: its key in the ledger (without a number where it never traded), and its cash.

    is_embedded: Kobe keeps it itself, and its clock stands in the stored bars; moment: where it stands, None before the first.
    is_counted: no broker has told the cash yet: it is what fills alone have left of the start.
    """

    stage: Stage
    account: str
    cash: Decimal
    is_embedded: bool
    moment: tuple[dt.date, str] | None
    is_counted: bool = False


def account_on_record(settings: Settings, ledger: OrderLedger) -> OnRecord:
    """The account of the settings' stage. Raises what reading the ledger raises."""
    stage = settings.broker.stage
    folder = embedded_folder(settings, load_secrets(), stage)
    state = None if folder is None else _embedded_state(folder)
    if state is not None:
        number, session, phase = state
        account, moment = f"{stage}:{number}", (dt.date.fromisoformat(session), phase)
    else:
        account, moment = _latest_account(ledger, stage), None
    broker_cash = _broker_cash(ledger, account)
    cash = _counted_cash(settings, ledger, account) if broker_cash is None else broker_cash
    return OnRecord(stage, account, cash, folder is not None, moment, is_counted=broker_cash is None)


def sessions_to_trade(ledger: OrderLedger, found: OnRecord, warehouse: Warehouse) -> tuple[dt.date, dt.date]:
    """(session, the session of its signals) of the next run: what `kobe trade` would take. Raises NothingToLookAt."""
    stored = [row[0] for row in warehouse.rows("SELECT DISTINCT session FROM daily_bars ORDER BY session")]
    if not stored:
        raise NothingToLookAt("there are no bars yet", "run `kobe report`")
    if found.is_embedded:
        # A clock that was never set is set to the last stored session by the first run.
        first = stored[-1] if found.moment is None or found.moment == (stored[0], "pre_open") else found.moment[0]
        for before, session in itertools.pairwise(stored):
            is_over = found.moment in ((session, "after"), (session, "evening"))
            if session >= first and not is_over and not is_done(ledger, found.account, session):
                return session, before
    last: dt.date = stored[-1]
    return calendar.sessions(last + dt.timedelta(days=1), last + A_LONG_HOLIDAY)[0].item(), last


def is_done(ledger: OrderLedger, account: str, session: dt.date) -> bool:
    """Whether the session was traded to its end."""
    claim = claim_of(ledger, account, session)
    return claim is not None and claim.state == DONE


def warehouse_to_look_at(lock_wait_s: float | None = None, settings: Settings | None = None) -> Warehouse:
    """The warehouse of the data folder, which is brought up to this Kobe's tables. Raises NothingToLookAt where there is none.

    Not opened for reading alone: one process cannot have the file open in both ways. settings: whose bars they must be, else
    MarketDataError.
    """
    warehouse = Warehouse(lock_wait_s=lock_wait_s)
    if not warehouse.path.is_file():
        raise NothingToLookAt("there are no bars yet", "run `kobe report`")
    if settings is not None:
        refuse_other_source(warehouse, settings.data.vendor)
    return warehouse


@contextlib.contextmanager
def ledger_to_look_at() -> Iterator[OrderLedger]:
    """The ledger of the data folder for reading; an empty one, thrown away, where there is none."""
    path = kobe_home() / "orders.sqlite"
    if path.is_file():
        with OrderLedger(path) as ledger:
            yield ledger
        return
    with (
        tempfile.TemporaryDirectory(prefix="kobe-look-") as folder,
        OrderLedger(Path(folder) / "l.sqlite", disposable=True) as empty,
    ):
        yield empty


@contextlib.contextmanager
def copied(ledger: OrderLedger) -> Iterator[OrderLedger]:
    """A copy of the ledger to try things out on, thrown away at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="kobe-look-") as folder:
        path = Path(folder) / "orders.sqlite"
        with contextlib.closing(sqlite3.connect(path)) as copy:
            ledger.connection.backup(copy)
        with OrderLedger(path, pin=ledger.pin, disposable=True) as thrown_away:
            yield thrown_away


def _embedded_state(folder: Path) -> tuple[str, str, str] | None:
    """(number, session, phase) of an embedded account; None where it has no file, or one that cannot be read."""
    path = folder / "broker.sqlite"
    if not path.is_file():
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)) as state:
            row = state.execute("SELECT number, session, phase FROM account").fetchone()
    except sqlite3.Error:
        return None
    return None if row is None else (str(row[0]), str(row[1]), str(row[2]))


def _latest_account(ledger: OrderLedger, stage: Stage) -> str:
    sql = "SELECT account FROM session_claims WHERE account LIKE ? || ':%' ORDER BY started_at DESC LIMIT 1"
    rows = ledger.rows(sql, (stage,))
    return str(rows[0]["account"]) if rows else f"{stage}:"


def _broker_cash(ledger: OrderLedger, account: str) -> Decimal | None:
    """Dollars at the last comparison with the broker; None before the first."""
    seen = last_reconciliation(ledger, account)
    return Decimal(seen["snapshot"]["cash"]) if seen is not None and "cash" in seen["snapshot"] else None


def _counted_cash(settings: Settings, ledger: OrderLedger, account: str) -> Decimal:
    """What the ledger's own fills left of the start."""
    moved, _ = cash_of_fills(ledger, account)
    return Decimal(repr(settings.simulation.initial_cash)) + moved
