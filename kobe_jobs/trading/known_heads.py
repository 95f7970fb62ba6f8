"""Heads of the audit chain that are known outside the ledger: Dagster's history of trading, and the newest backup.

A ledger and an audit.jsonl that were set back together agree with each other, so only a head kept elsewhere shows it. A
place that cannot be read is logged and skipped. It imports no strategy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kobe_resources.errors import KobeError
from kobe_resources.order_ledger import OrderLedger, audit_chain
from kobe_resources.runtime.event_log import get_logger
from kobe_resources.settings.load import kobe_home

ACCEPTED = "rollback_accepted"
EVENTS = 20
"""So many of the latest events of an asset are asked: one that came after the chain was set back proves nothing."""
MEND = 'after a restore on purpose: `kobe audit accept "why"`; else keep both files as evidence, and do not trade'
log = get_logger("audit")


@dataclass(frozen=True, slots=True)
class KnownHead:
    """A head 'seq:hash', and where it is kept."""

    head: str
    where: str


def find_rollback(ledger: OrderLedger) -> str:
    """Which head kept elsewhere the ledger's chain lacks; empty where it lacks none, or a person accepted it."""
    accepted = _accepted(ledger)
    for known in known_heads(ledger.path.parent):
        problem = "" if known.head in accepted else audit_chain.missing_head(ledger.connection, known.head)
        if problem:
            return f"{problem}; {known.where} knows it: ledger and audit.jsonl were set back together"
    return ""


def accept_rollback(ledger: OrderLedger, reason: str) -> list[str]:
    """Put on the chain that a person knows of every head that it lacks now; those heads."""
    known = [known.head for known in known_heads(ledger.path.parent) if audit_chain.missing_head(ledger.connection, known.head)]
    heads = sorted(set(known) - _accepted(ledger))
    if heads:
        with ledger.write() as write:
            write.audit(ACCEPTED, heads=heads, reason=reason)
    return heads


def known_heads(home: Path) -> Iterator[KnownHead]:
    """Every head that is kept outside the ledger of `home`."""
    yield from _of_backup(home)
    yield from _of_history(home)


def _accepted(ledger: OrderLedger) -> set[str]:
    rows = ledger.rows("SELECT body FROM audit WHERE kind = ?", (ACCEPTED,))
    return {head for row in rows for head in json.loads(row["body"])["heads"]}


def _of_backup(home: Path) -> Iterator[KnownHead]:
    from kobe_jobs.ops.backup.archive import ArchiveRefused, read_manifest
    from kobe_jobs.ops.backup.make import newest_archive

    archive = newest_archive(home.absolute())
    if archive is None:
        return
    try:
        head = str(read_manifest(archive).get("audit_head") or "")
    except (ArchiveRefused, OSError) as error:
        log.warning("a backup's head of the audit chain could not be read", reason=str(error))
        return
    if audit_chain.is_head(head):
        yield KnownHead(head, f"the backup {archive.name}")


def _of_history(home: Path) -> Iterator[KnownHead]:
    if home.absolute() != kobe_home().absolute() or not (home / "dagster" / "history").is_dir():
        return
    import dagster as dg
    from sqlalchemy.exc import SQLAlchemyError

    from kobe_resources.runtime.dagster_instance import open_instance

    try:
        with open_instance() as instance:
            orders = instance.fetch_materializations(dg.AssetKey("orders"), limit=EVENTS).records
            looks = instance.fetch_observations(dg.AssetKey("positions"), limit=EVENTS).records
        events = [*(record.asset_materialization for record in orders), *(record.asset_observation for record in looks)]
    except (KobeError, dg.DagsterError, SQLAlchemyError, OSError, RuntimeError, ValueError) as error:
        log.warning("Dagster's history could not be asked for heads of the audit chain", reason=str(error))
        return
    for event in events:
        kept = event.metadata.get("audit head") if event else None
        if kept is not None and audit_chain.is_head(str(kept.value)):
            yield KnownHead(str(kept.value), "Dagster's history of trading")
