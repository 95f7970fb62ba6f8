"""The lock of trading runs: one run works on a data folder at a time, and waits for a reconciliation.

The operating system frees the locks when a process dies, so that a claim on record never keeps the next run out.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from filelock import BaseFileLock, FileLock, Timeout

from kobe_resources.errors import KobeError
from kobe_resources.order_ledger import OrderLedger
from kobe_resources.runtime.atomic_files import private_file, private_folder
from kobe_resources.runtime.event_log import get_logger

BRIEF_WAIT_S = 1.0
"""A look at the lock by another process is over by then."""
RECONCILIATION_WAIT_S = 180.0
log = get_logger("trading")


class AnotherRunTrades(KobeError):
    """Another process holds the lock of trading runs."""


class ReconciliationGoesOn(KobeError):
    """A reconciliation held the ledger for longer than a trading run waits: the session may be lost."""


@contextlib.contextmanager
def trading_lock(ledger: OrderLedger, reconciles: bool = False) -> Iterator[str]:
    """Hold this data folder for a trading run, or for a reconciliation; what was waited for, empty where nothing was.

    A trading run refuses another one at once, and waits for a reconciliation. The operating system frees the locks when a
    process dies. Raises AnotherRunTrades or ReconciliationGoesOn.
    """
    folder = ledger.path.parent
    private_folder(folder)
    for name in ("trading-run.lock", "trading.lock"):
        private_file(folder / name)
    with contextlib.ExitStack() as held:
        if not reconciles:
            try:
                held.enter_context(FileLock(folder / "trading-run.lock", timeout=0))
            except Timeout:
                raise _another_run(ledger) from None
        lock = FileLock(folder / "trading.lock")
        try:
            held.enter_context(lock.acquire(timeout=BRIEF_WAIT_S))
            waited = ""
        except Timeout:
            if reconciles:
                raise _another_run(ledger) from None
            waited = _wait_for_reconciliation(lock, held)
        yield waited


def _wait_for_reconciliation(lock: BaseFileLock, held: contextlib.ExitStack) -> str:
    notice = f"a reconciliation holds the ledger: waiting for it, at most {RECONCILIATION_WAIT_S:g} s"
    log.warning(notice)
    sys.stderr.write(notice + "\n")
    try:
        held.enter_context(lock.acquire(timeout=RECONCILIATION_WAIT_S))
    except Timeout:
        raise ReconciliationGoesOn(
            f"a reconciliation has held the ledger for {RECONCILIATION_WAIT_S:g} s",
            "see whether `kobe reconcile` or its job hangs, stop it, and trade again",
        ) from None
    return "the run waited for a reconciliation that held the ledger"


def _another_run(ledger: OrderLedger) -> AnotherRunTrades:
    rows = ledger.rows("SELECT owner, session FROM session_claims WHERE state = 'running' ORDER BY started_at DESC LIMIT 1")
    who = f" ({rows[0]['owner']}, session {rows[0]['session']})" if rows else ""
    return AnotherRunTrades(f"another run is trading{who}", "wait until it is done")
