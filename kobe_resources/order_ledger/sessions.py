"""Sessions: the claim of the run that trades one, and what reconciliation saw is kept.

Trusts its caller to hold the lock of trading runs: it is what keeps two runs apart.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kobe_resources.errors import KobeError
from kobe_resources.order_ledger.store import OrderLedger, Write
from kobe_resources.settings.pins import canonical_json

RUNNING, HALTED, DONE = "running", "halted", "done"


class SessionTaken(KobeError):
    """The session was already traded."""


class BegunOtherwise(KobeError):
    """The session was begun with another strategy and is not over: it is lost unless a person sees to it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Who trades a session of an account, and how far it got: running, halted (may be resumed), done."""

    account: str
    session: dt.date
    strategy: str
    state: str
    owner: str
    run_id: str
    runs: int
    confirmed_by: str | None
    note: str


def claim_of(ledger: OrderLedger | Write, account: str, session: dt.date) -> Claim | None:
    """The claim on a session, or None."""
    row = ledger.connection.execute(
        "SELECT account, session, strategy, state, owner, run_id, runs, confirmed_by, note FROM session_claims"
        " WHERE account = ? AND session = ?",
        (account, session.isoformat()),
    ).fetchone()
    if row is None:
        return None
    values = dict(row)
    values["session"] = dt.date.fromisoformat(values["session"])
    return Claim(**values)


def last_claimed(source: OrderLedger | Write, account: str) -> dt.date | None:
    """The latest session of the account that a run has begun; None before the first."""
    row = source.connection.execute("SELECT max(session) AS day FROM session_claims WHERE account = ?", (account,)).fetchone()
    return dt.date.fromisoformat(row["day"]) if row["day"] else None


def claim_session(write: Write, account: str, session: dt.date, strategy: str, owner: str) -> Claim:
    """Claim a session, or resume one that was left half done. Raises SessionTaken where it is done, or BegunOtherwise.

    A claim on record as running is taken over: its run is dead, because the caller holds the lock of trading runs.
    """
    known = claim_of(write, account, session)
    if known is None:
        now = write.now.isoformat()
        write.execute(
            "INSERT INTO session_claims (account, session, strategy, state, owner, lease_until, run_id, started_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            # lease_until is unused, and may not be empty.
            (account, session.isoformat(), strategy, RUNNING, owner, now, write.run_id, now),
        )
        write.audit("session_claimed", account=account, session=session, strategy=strategy, owner=owner)
        return _claimed(write, account, session)
    if known.state == DONE:
        raise SessionTaken(
            f"session {session} was already traded ({known.note or known.run_id})",
            "`kobe trace` lists its orders; trade a later one",
        )
    if known.strategy != strategy:
        raise BegunOtherwise(f"session {session} was begun with strategy {known.strategy!r}", "finish it with that one")
    write.execute(
        "UPDATE session_claims SET state = ?, owner = ?, run_id = ?, runs = runs + 1 WHERE account = ? AND session = ?",
        (RUNNING, owner, write.run_id, account, session.isoformat()),
    )
    write.audit("session_resumed", account=account, session=session, strategy=strategy, owner=owner, left_by=known.owner)
    return _claimed(write, account, session)


def confirm_session(write: Write, account: str, session: dt.date, by: str) -> None:
    """A person typed that this session may trade live."""
    write.execute(
        "UPDATE session_claims SET confirmed_by = ? WHERE account = ? AND session = ?", (by, account, session.isoformat())
    )
    write.audit("confirmed", account=account, session=session, by=by)


def end_session(write: Write, account: str, session: dt.date, state: str, note: str) -> None:
    """The run is over: done, or halted with the reason."""
    write.execute(
        "UPDATE session_claims SET state = ?, note = ?, ended_at = ? WHERE account = ? AND session = ?",
        (state, note, write.now.isoformat(), account, session.isoformat()),
    )
    write.audit("session_ended", account=account, session=session, state=state, note=note)


def keep_reconciliation(
    write: Write,
    account: str,
    session: dt.date,
    moment: str,
    differences: Sequence[Mapping[str, Any]],
    snapshot: Mapping[str, Any],
    agrees: bool,
) -> None:
    """Keep what both sides said; differences: one mapping a row; agrees: none of them matters."""
    write.execute(
        "INSERT INTO reconciliations (account, session, moment, at, run_id, agrees, differences, snapshot)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            account, session.isoformat(), moment, write.now.isoformat(), write.run_id, int(agrees),
            canonical_json(differences), canonical_json(snapshot),
        ),
    )  # fmt: skip
    write.audit("reconciled", account=account, session=session, moment=moment, agrees=agrees, differences=list(differences))


def last_reconciliation(ledger: OrderLedger, account: str, agreeing: bool = False) -> dict[str, Any] | None:
    """The latest snapshot (the latest that agreed): when, differences, what both sides said; None before the first."""
    row = ledger.connection.execute(
        "SELECT session, moment, at, agrees, differences, snapshot FROM reconciliations WHERE account = ? AND agrees >= ?"
        " ORDER BY id DESC LIMIT 1",
        (account, int(agreeing)),
    ).fetchone()
    if row is None:
        return None
    return {**dict(row), "differences": json.loads(row["differences"]), "snapshot": json.loads(row["snapshot"])}


def noted_of(last: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a person accepted as their own at the last agreement: shares by symbol, and broker ids of working orders.

    last: as `last_reconciliation` gives it.
    """
    noted = last["snapshot"].get("noted", {}) if last else {}
    return {"positions": dict(noted.get("positions", {})), "orders": list(noted.get("orders", []))}


def _claimed(write: Write, account: str, session: dt.date) -> Claim:
    claim = claim_of(write, account, session)
    if claim is None:
        raise KobeError(f"session {session} lost its claim", "run `kobe audit verify`")
    return claim
