"""What the health server alerts of by itself: a dead daemon, a session that nothing trades, a bare position, the kill switch.

It looks in a thread of its own and depends on neither daemon nor run, which may be what is dead. A fault counts from the
second look on, so that a start of everything at once is none.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
from collections.abc import Iterator, Sequence

from kobe_jobs.ops.health.checks import (
    Question,
    Watch,
    ask_daemon,
    ask_kill_switch,
    ask_protection,
)
from kobe_resources import calendar
from kobe_resources.alerts import AlertMessage, send_alert
from kobe_resources.broker.open import embedded_folder
from kobe_resources.calendar import NEW_YORK
from kobe_resources.findings import Finding
from kobe_resources.kill_switch import KillSwitch
from kobe_resources.order_ledger.store import OrderLedger
from kobe_resources.runtime.event_log import get_logger
from kobe_resources.settings.load import kobe_home
from kobe_resources.settings.models import Settings
from kobe_resources.settings.secrets import load_secrets

LOOK_EVERY_S = 20.0
PROTECTION_EVERY = 6
"""Looks between two questions to the broker."""
RUN_BY = dt.time(10, 0)
LOCK_WAIT_S = 3.0
log = get_logger("health")


def ask_session_run(settings: Settings, now: dt.datetime) -> Finding:
    """Whether a run has begun for the open session by 10:00 in New York."""
    stage, secrets = settings.broker.stage, load_secrets()
    if embedded_folder(settings, secrets, stage) is not None:
        return Finding("session_run", True, f"stage {stage} trades the sessions of the stored bars, when it is asked to")
    session, local = calendar.open_session(now), now.astimezone(NEW_YORK)
    if session is None:
        return Finding("session_run", True, "the market is shut")
    if local.time() < RUN_BY:
        return Finding("session_run", True, f"session {session} has until {RUN_BY:%H:%M} in New York")
    path = kobe_home() / "orders.sqlite"
    sql = "SELECT count(*) AS all_time, total(session = ?) AS today FROM session_claims WHERE account LIKE ? || ':%'"
    ran = (0, 0)
    if path.is_file():
        with OrderLedger(path, busy_wait_s=LOCK_WAIT_S) as ledger:
            row = ledger.rows(sql, (session.isoformat(), stage))[0]
        ran = (row["all_time"], int(row["today"]))
    if ran[1]:
        return Finding("session_run", True, f"session {session} has its run")
    if stage == "shadow" and not ran[0]:
        return Finding("session_run", True, "nothing was ever traded in this stage")
    return Finding("session_run", False, f"no run has begun for session {session} by {RUN_BY:%H:%M} in New York: `kobe trade`")


class Watchman:
    """Repeats the checks, and alerts of what is wrong at two in a row."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._often = Watch(
            [
                Question("daemon", ask_daemon),
                Question("kill_switch", ask_kill_switch),
                Question("session_run", lambda: ask_session_run(settings, dt.datetime.now(dt.UTC))),
            ],
            keep_s=0.0,
        )
        self._rarely = Watch([Question("protection", lambda: ask_protection(settings))], keep_s=0.0)
        self._wrong: dict[str, set[str]] = {}
        self._looks = 0

    def look(self) -> list[AlertMessage]:
        """Run the checks once; the alerts that were sent."""
        checks = self._often.look()
        if self._looks % PROTECTION_EVERY == 0:
            checks += self._rarely.look()
        self._looks += 1
        lasting = [message for message in self._messages(checks) if self._is_lasting(message)]
        for check in checks:
            self._wrong[check.name] = {message.key for message in self._messages([check])}
        for message in lasting:
            send_alert(self._settings, message)
        return lasting

    def _messages(self, checks: Sequence[Finding]) -> list[AlertMessage]:
        return [message for check in checks if not check.ok for message in message_of(check)]

    def _is_lasting(self, message: AlertMessage) -> bool:
        return any(message.key in keys for keys in self._wrong.values())


def message_of(check: Finding) -> list[AlertMessage]:
    """The alert for a failed check; none where nothing was at stake, as with a daemon that never ran."""
    facts = {"reason": check.seen}
    if check.name == "daemon" and check.metrics:
        return [AlertMessage(frozenset({"failed"}), "the daemon is dead: no schedule and no sensor works", facts, "daemon")]
    if check.name == "session_run":
        return [AlertMessage(frozenset({"failed"}), "the session has no run", facts, f"session_run|{check.seen}")]
    if check.name == "protection" and check.metrics.get("positions_unguarded"):
        what = "a position has no stop at the broker"
        return [AlertMessage(frozenset({"unprotected"}), what, facts, f"protection|{check.seen}")]
    if check.name == "kill_switch":
        status = KillSwitch().status()
        if not status.is_on:
            # Turned off since it was looked at.
            return []
        what = f"the kill switch is on: {status.reason}"
        return [AlertMessage(frozenset({"kill"}), what, {"by": status.by, "since": status.at}, f"{what}|{status.at}")]
    return []


@contextlib.contextmanager
def watching(settings: Settings, every_s: float = LOOK_EVERY_S) -> Iterator[Watchman]:
    """Let a watchman look while the block runs."""
    watchman, over = Watchman(settings), threading.Event()

    def work() -> None:
        while not over.is_set():
            try:
                watchman.look()
            except Exception:
                # A fault in what is looked at must not end the looking.
                log.exception("a look of the watchman failed")
            over.wait(every_s)

    thread = threading.Thread(target=work, name="watchman", daemon=True)
    thread.start()
    try:
        yield watchman
    finally:
        over.set()
