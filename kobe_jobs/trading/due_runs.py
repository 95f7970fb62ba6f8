"""Which run of a session is due at a moment, as the sensors ask: before the open, while orders work, before a split.

Reads the calendar, the ledger and the stored splits; asks no broker and changes nothing.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from kobe_jobs.trading.bare_positions import LIFTED, still_lifted
from kobe_jobs.trading.moments import AUCTION_ENDS, AUCTION_FROM
from kobe_resources import calendar
from kobe_resources.calendar import NEW_YORK
from kobe_resources.kill_switch import KillSwitch
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.sessions import DONE
from kobe_resources.order_ledger.store import OrderLedger
from kobe_resources.settings.load import kobe_home

if TYPE_CHECKING:
    from kobe_resources.settings.models import Settings

AHEAD = dt.timedelta(days=12)
AFTER_OPEN = dt.timedelta(seconds=5)


def auction_session(now: dt.datetime) -> dt.date | None:
    """The session whose opening auction takes orders now; None between 09:28 and 19:00 of a session's day."""
    today = now.astimezone(NEW_YORK).date()
    for session in calendar.sessions(today, today + AHEAD).tolist():
        before = calendar.previous_session(session)
        begins = dt.datetime.combine(before, AUCTION_FROM, NEW_YORK)
        if begins <= now < calendar.open_time(session) - AUCTION_ENDS:
            found: dt.date = session
            return found
    return None


def session_of_today(now: dt.datetime) -> dt.date | None:
    """The session that is open, or was today."""
    today = now.astimezone(NEW_YORK).date()
    return today if calendar.is_session(today) and now >= calendar.open_time(today) + AFTER_OPEN else None


def session_to_trade(settings: Settings, now: dt.datetime) -> dt.date | None:
    """The session that is open; before the open the coming one, where the settings send orders before it."""
    from kobe_jobs.trading.context import sends_before_open

    opened = calendar.open_session(now)
    return opened or (auction_session(now) if sends_before_open(settings) else None)


def why_no_entries(settings: Settings, session: dt.date | None, now: dt.datetime) -> str:
    """Why no entry may be sent now; empty where one may."""
    if KillSwitch().status().is_on:
        return "the kill switch is on"
    if session is None:
        return "the market is shut"
    last = calendar.close_time(session) - dt.timedelta(minutes=settings.trading.last_entry_before_close_min)
    return f"entries end at {last:%H:%M} UTC" if now >= last else ""


def is_done_in_stage(stage: str, session: str) -> bool:
    """Whether the ledger has an account of the stage whose session is done."""
    path = kobe_home() / "orders.sqlite"
    if not path.is_file():
        return False
    with OrderLedger(path) as ledger:
        rows = ledger.rows("SELECT account, state FROM session_claims WHERE session = ?", (session,))
    return any(row["account"].startswith(f"{stage}:") and row["state"] == DONE for row in rows)


def why_unfinished(stage: str, session: dt.date, now: dt.datetime) -> str:
    """Why a session that was begun needs another run now; empty where it does not, or was not begun.

    Orders wait or work, or nothing has looked since the open, or since the close.
    """
    path = kobe_home() / "orders.sqlite"
    if not path.is_file():
        return ""
    with OrderLedger(path) as ledger:
        claims = ledger.rows(
            "SELECT account, state, note, coalesce(ended_at, started_at) AS seen, confirmed_by FROM session_claims"
            " WHERE session = ? AND account LIKE ?",
            (session.isoformat(), f"{stage}:%"),
        )
        for claim in claims:
            if claim["state"] == DONE or (stage == "live" and not claim["confirmed_by"]):
                continue
            unsettled = book.unsettled(ledger, claim["account"])
            working = sum(order.session == session and order.purpose != book.STOP for order in unsettled)
            if working and now < calendar.close_time(session):
                return f"{working} orders work"
            seen = dt.datetime.fromisoformat(claim["seen"])
            is_closed = now >= calendar.close_time(session)
            since = calendar.close_time(session) if is_closed else calendar.open_time(session)
            if seen < since:
                return f"no run has looked since the {'close' if is_closed else 'open'}"
    return ""


def splits_ahead(stage: str, now: dt.datetime) -> tuple[dt.date, list[str]] | None:
    """(the session to run, held symbols whose split takes effect at the next open and whose stop no run has lifted).

    On the day of the session that ended it is that one, afterwards the one to come. None where there are no such symbols.
    """
    from kobe_resources.warehouse.store import Warehouse

    path = kobe_home() / "orders.sqlite"
    if calendar.open_session(now) is not None or not path.is_file():
        return None
    ended = calendar.latest_complete_session(now)
    coming: list[dt.date] = calendar.sessions(ended + dt.timedelta(days=1), ended + AHEAD).tolist()
    if not coming:
        return None
    with OrderLedger(path) as ledger:
        rows = ledger.rows(
            "SELECT DISTINCT symbol FROM positions p WHERE is_open = 1 AND account LIKE ? AND NOT EXISTS (SELECT 1 FROM audit"
            " WHERE kind = ? AND json_extract(body, '$.position') = p.id AND json_extract(body, '$.until') = ?)",
            (f"{stage}:%", LIFTED, coming[0].isoformat()),
        )
    held = [row["symbol"] for row in rows]
    if not held:
        return None
    splits = Warehouse().rows(
        "SELECT DISTINCT symbol FROM splits WHERE execution_date > ? AND execution_date <= ? AND symbol IN (SELECT unnest(?))",
        (ended, coming[0], held),
    )
    session = ended if now.astimezone(NEW_YORK).date() == ended else coming[0]
    return (session, sorted(row[0] for row in splits)) if splits else None


def bare_after_split(stage: str, now: dt.datetime) -> tuple[dt.date, list[str]] | None:
    """(the open session, held symbols whose stop was lifted for a split and that have none yet); None where there are none."""
    session, path = calendar.open_session(now), kobe_home() / "orders.sqlite"
    if session is None or session_of_today(now) is None or not path.is_file():
        return None
    with OrderLedger(path) as ledger:
        symbols = [row.symbol for row in still_lifted(ledger, f"{stage}:%") if row.until <= session]
    return (session, symbols) if symbols else None
