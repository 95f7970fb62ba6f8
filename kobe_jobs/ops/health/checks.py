"""What must hold for Kobe to be ready, each asked by a small function that gives a Finding.

A question changes nothing, and `Watch` bounds its time. Answers hold no secret.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from kobe_assets.checks.sessions import find_stale
from kobe_jobs.trading.bare_positions import PROTECTED, find_lifted, find_unguarded, lifted_text, mend_of
from kobe_jobs.trading.known_heads import MEND, find_rollback
from kobe_resources import calendar
from kobe_resources.broker.open import embedded_folder, open_broker
from kobe_resources.errors import KobeError
from kobe_resources.findings import Finding
from kobe_resources.kill_switch import KillSwitch
from kobe_resources.market_data.store import refuse_other_source
from kobe_resources.order_ledger.store import OrderLedger
from kobe_resources.runtime.dagster_instance import open_instance
from kobe_resources.runtime.disk import LEAST_FREE_TO_BE_READY, free_space
from kobe_resources.runtime.event_log import get_logger, redact
from kobe_resources.settings.load import kobe_home
from kobe_resources.settings.models import Settings
from kobe_resources.settings.secrets import key_file_is_open, load_secrets
from kobe_resources.warehouse.store import Warehouse

LIMIT_S = 10.0
KEEP_ANSWERS_S = 5.0
LOCK_WAIT_S = 3.0
QUIET_AT_MOST = dt.timedelta(minutes=10)
"""A run at work writes something down more often; one that does not hangs, or was stopped, and protects nothing."""
HEARTBEAT_LIMIT = dt.timedelta(minutes=2)
"""Daemons beat twice a minute."""
AT_FIRST_USE = (
    "kobe_jobs.trading.account",
    "pandas", "tenacity", "kobe_jobs.ops.backup.archive", "kobe_jobs.ops.backup.make",
    "kobe_resources.broker.exchange.simulated", "kobe_resources.broker.exchange.embedded", "kobe_resources.broker.pacing",
)  # fmt: skip
"""Modules that the questions import at first use."""
ATTEMPTS = 5
OWN_FILES_MAY_LAG = 5
"""Sessions that the bars of own files may be behind without a warning."""
DAYS_OF_A_MONTH = 30.44
METRICS = {
    "warehouse_bytes": "Size of kobe.duckdb.",
    "bars": "Stored daily bars.",
    "last_session_timestamp_seconds": "Midnight UTC of the last stored session.",
    "audit_records": "Records of the audit chain.",
    "audit_not_copied": "Records that audit.jsonl lacks so far.",
    "market_open": "1 while the broker's clock says open.",
    "clock_skew_seconds": "Our clock minus the broker's.",
    "positions_unguarded": "Positions without a protective stop at the broker, and stops without a position.",
    "equity": "Dollars that the account of the stage is worth at the last close, by the ledger.",
    "pnl": "Dollars that it made since its first session.",
    "positions": "Open positions.",
    "budget_used": "Dollars of the last session's entries.",
    "kill_switch": "1 while the kill switch is on.",
    "daemon_heartbeat_age_seconds": "Age of the oldest heartbeat of Dagster's daemons.",
    "disk_free_bytes": "Free space at the data folder.",
}
"""What the answers measure; beside them `orders_<state>`, told as one metric with the label `state`."""

log = get_logger("health")


@dataclass(frozen=True, slots=True)
class Question:
    """A named question."""

    name: str
    ask: Callable[[], Finding]
    blocking: bool = True


def questions(settings: Settings) -> list[Question]:
    """Everything that is asked under these settings."""
    _import_before_threads(settings)
    return [
        Question("warehouse", ask_warehouse),
        Question("bars", lambda: ask_bars(settings)),
        Question("audit", ask_audit),
        Question("broker", lambda: ask_broker(settings)),
        Question("protection", lambda: ask_protection(settings)),
        Question("kill_switch", ask_kill_switch),
        Question("daemon", ask_daemon),
        Question("disk", ask_disk),
        Question("key_file", ask_key_file, blocking=False),
    ]


def account_question(settings: Settings) -> Question:
    """The question for the account's metrics, whose answer never fails."""
    return Question("account", lambda: ask_account(settings), blocking=False)


def _import_before_threads(settings: Settings) -> None:
    """Import before any thread what else would be imported in several; what cannot be imported is reported by its question.

    Threads that import at once what imports each other end in a deadlock, which Python breaks by an error.
    """
    of_broker = () if settings.broker.stage == "simulated" else ("kobe_resources.broker.alpaca.adapter",)
    of_daemon = ("dagster", "sqlalchemy.orm") if (kobe_home() / "dagster" / "storage_version").is_file() else ()
    for name in (*AT_FIRST_USE, *of_broker, *of_daemon):
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001  a module that breaks must not stop questions that do not need it
            log.warning("a module of a health question cannot be imported", module=name, reason=str(error))


def ask_warehouse() -> Finding:
    """Whether the warehouse opens within a few seconds."""
    warehouse = Warehouse(lock_wait_s=LOCK_WAIT_S)
    if not warehouse.path.is_file():
        return Finding("warehouse", False, "there is no warehouse yet: run `kobe report`")
    ((bars,),) = warehouse.rows("SELECT count(*) FROM daily_bars")
    return Finding(
        "warehouse", True, f"opens, {bars:,} bars", metrics={"warehouse_bytes": warehouse.path.stat().st_size, "bars": bars}
    )


def ask_bars(settings: Settings) -> Finding:
    """Whether the last stored session is the one that the vendor should have by now."""
    warehouse = Warehouse(lock_wait_s=LOCK_WAIT_S)
    if not warehouse.path.is_file():
        return Finding("bars", False, "there are no bars yet: run `kobe report`")
    refuse_other_source(warehouse, settings.data.vendor)
    ((last,),) = warehouse.rows("SELECT max(session) FROM daily_bars")
    if last is None:
        return Finding("bars", False, "there are no bars yet: run `kobe bars refresh`")
    now = dt.datetime.now(dt.UTC)
    finding = find_stale(last, settings, now)
    metrics = {"last_session_timestamp_seconds": dt.datetime.combine(last, dt.time(), dt.UTC).timestamp()}
    if not finding.ok:
        return Finding("bars", False, finding.seen, metrics=metrics)
    seen = f"the last stored session is {last}"
    latest = calendar.latest_complete_session(now, calendar.BARS_EXPECTED_AFTER)
    behind = len(calendar.sessions(last, latest)) - 1 if last < latest else 0
    if settings.data.vendor == "files" and settings.broker.stage != "simulated" and behind > OWN_FILES_MAY_LAG:
        age = _age(behind, (latest - last).days)
        return Finding("bars", False, f"{seen}, {age}: own files are as new as you bring them", blocks=False, metrics=metrics)
    return Finding("bars", True, seen, metrics=metrics)


def _age(sessions: int, days: int) -> str:
    months = round(days / DAYS_OF_A_MONTH)
    return f"{months} months ago" if months > 1 else f"{sessions} sessions ago"


def ask_audit() -> Finding:
    """Whether the order ledger's hash chain holds, with its copy and the heads that are kept elsewhere."""
    path = kobe_home() / "orders.sqlite"
    if not path.is_file():
        return Finding("audit", True, "no order has been decided yet", metrics={"audit_records": 0})
    with OrderLedger(path, busy_wait_s=LOCK_WAIT_S) as ledger:
        found = ledger.verify_audit()
        orders = ledger.rows("SELECT lower(state), count(*) FROM intents GROUP BY state")
        rollback = find_rollback(ledger) if found.holds else ""
    metrics: dict[str, float] = {"audit_records": found.records, "audit_not_copied": found.not_copied}
    metrics.update((f"orders_{state}", count) for state, count in orders)
    if rollback:
        return Finding("audit", False, f"{rollback}; {MEND}", metrics=metrics)
    return Finding("audit", found.holds, found.description, metrics=metrics)


def ask_broker(settings: Settings) -> Finding:
    """Whether the broker of the stage answers, and its clock agrees with this machine's."""
    stage = settings.broker.stage
    secrets = load_secrets()
    if embedded_folder(settings, secrets, stage) is not None:
        return Finding("broker", True, f"stage {stage} uses the embedded broker, started with each run")
    broker = open_broker(settings, secrets, stage)
    try:
        clock = broker.clock()
    finally:
        broker.close()
    skew = (dt.datetime.now(dt.UTC) - clock.timestamp).total_seconds()
    market = "open" if clock.is_open else "closed"
    return Finding(
        "broker",
        True,
        f"stage {stage} answers, market {market}",
        metrics={"market_open": clock.is_open, "clock_skew_seconds": skew},
    )


def ask_protection(settings: Settings) -> Finding:
    """Whether the broker shows every position with its stop now."""
    stage, secrets, path = settings.broker.stage, load_secrets(), kobe_home() / "orders.sqlite"
    if stage == "shadow" or not path.is_file():
        return Finding("protection", True, "nothing is held", metrics={"positions_unguarded": 0})
    if embedded_folder(settings, secrets, stage) is not None:
        return Finding(
            "protection",
            True,
            f"stage {stage} uses the embedded broker, started with each run",
            metrics={"positions_unguarded": 0},
        )
    with OrderLedger(path, busy_wait_s=LOCK_WAIT_S) as ledger:
        is_at_work = _is_at_work(path.with_name("trading.lock"))
        if is_at_work and _has_written(ledger):
            return Finding("protection", True, "a run is at work: it protects what it holds, or says that it could not")
        with contextlib.closing(open_broker(settings, secrets, stage)) as broker:
            account = f"{stage}:{broker.account().number}"
            unguarded, lifted = find_unguarded(ledger, account, broker), find_lifted(ledger, account, broker)
    hangs = f"a run is at work and has written nothing for {QUIET_AT_MOST.seconds // 60} minutes: end it, then "
    hint = f"; {hangs if is_at_work else ''}{mend_of(unguarded)}" if unguarded else ""
    seen = "; ".join([*(row.text for row in unguarded), *(lifted_text(*row) for row in lifted.items())]) or PROTECTED
    return Finding("protection", not unguarded, f"{seen}{hint}", metrics={"positions_unguarded": len(unguarded)})


def ask_account(settings: Settings) -> Finding:
    """The account's equity and positions, as metrics; the finding never fails."""
    from kobe_jobs.trading.account import look_at_account

    path, warehouse = kobe_home() / "orders.sqlite", Warehouse(lock_wait_s=LOCK_WAIT_S)
    if not (path.is_file() and warehouse.path.is_file()):
        return Finding("account", True, "nothing was traded yet")
    with OrderLedger(path, busy_wait_s=LOCK_WAIT_S) as ledger:
        view = look_at_account(settings, ledger, warehouse, with_tomorrow=False)
    metrics = {"equity": view.equity, "pnl": view.pnl, "positions": len(view.positions), "budget_used": view.budget_used}
    worth = f"${view.equity:,.2f} in stage {view.stage} at the close of {view.as_of}"
    return Finding("account", True, f"{worth}, {len(view.positions)} positions", metrics=metrics)


def _has_written(ledger: OrderLedger) -> bool:
    """Whether something was put on record of late, as a run at work does all the time: it waits for orders and asks again."""
    last = ledger.rows("SELECT time FROM audit ORDER BY seq DESC LIMIT 1")
    return bool(last) and dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(last[0]["time"]) < QUIET_AT_MOST


def _is_at_work(lock: Path) -> bool:
    """Whether a trading run or a reconciliation holds the lock."""
    try:
        with FileLock(lock, timeout=0, mode=0o600):
            return False
    except Timeout:
        return True


def ask_kill_switch() -> Finding:
    """Whether the kill switch is off."""
    status = KillSwitch().status()
    if not status.is_on:
        return Finding("kill_switch", True, "off", metrics={"kill_switch": 0})
    since = f" since {status.at}" if status.at else ""
    return Finding(
        "kill_switch",
        False,
        f"on{since}: {redact(status.reason)}; `kobe kill off` when the reason is gone",
        metrics={"kill_switch": 1},
    )


def ask_daemon() -> Finding:
    """Whether every daemon that schedules and sensors need has sent a heartbeat lately, without errors."""
    if not (kobe_home() / "dagster" / "storage_version").is_file():
        return Finding("daemon", False, "no daemon has run for this data folder: start `kobe ui`")
    with open_instance() as instance:
        beats = instance.get_daemon_heartbeats()
    if not beats:
        return Finding("daemon", False, "no daemon has run for this data folder: start `kobe ui`")
    now = time.time()
    oldest = max(now - beat.timestamp for beat in beats.values())
    metrics = {"daemon_heartbeat_age_seconds": oldest}
    if oldest > HEARTBEAT_LIMIT.total_seconds():
        return Finding(
            "daemon", False, f"the last heartbeat is {dt.timedelta(seconds=int(oldest))} old: start `kobe ui`", metrics=metrics
        )
    failing = [(name, beat.errors[0].message) for name, beat in beats.items() if beat.errors]
    if failing:
        name, message = failing[0]
        return Finding(
            "daemon", False, f"the {name.lower()} daemon fails: {redact(message).strip().splitlines()[0]}", metrics=metrics
        )
    return Finding("daemon", True, f"{len(beats)} daemons beat", metrics=metrics)


def ask_disk() -> Finding:
    """Whether the disk has room for a day's data, ledger and logs."""
    free, place = free_space(kobe_home())
    return Finding(
        "disk", free >= LEAST_FREE_TO_BE_READY, f"{free / 1e9:,.1f} GB free at {place}", metrics={"disk_free_bytes": free}
    )


def ask_key_file() -> Finding:
    """Whether only its owner can read the file of keys."""
    if key_file_is_open():
        return Finding("key_file", False, "others can read the file that KOBE_ENV_FILE names: chmod 600 it")
    return Finding("key_file", True, "only you can read it, or there is none")


class Watch:
    """Asks questions, each in a thread of its own and at most `limit_s` long; answers are kept for `keep_s`.

    A question that hangs is reported as such and not asked again before it ends, so that nothing piles up.
    """

    def __init__(self, asked: Sequence[Question], limit_s: float = LIMIT_S, keep_s: float = KEEP_ANSWERS_S) -> None:
        self._open = [_Open(question) for question in asked]
        self._limit_s = limit_s
        self._keep_s = keep_s
        self._lock = threading.Lock()

    def look(self) -> list[Finding]:
        """Every question's check, in order; takes `limit_s` at most."""
        with self._lock:
            for question in self._open:
                question.ask_unless_known(self._keep_s)
            deadline = time.monotonic() + self._limit_s
            return [question.result(deadline) for question in self._open]


class _Open:
    """A question with its thread and last answer."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._thread: threading.Thread | None = None
        self._began = 0.0
        self._known: tuple[float, Finding] | None = None

    def ask_unless_known(self, keep_s: float) -> None:
        known = self._known
        if (self._thread and self._thread.is_alive()) or (known and time.monotonic() - known[0] < keep_s):
            return
        self._known, self._began = None, time.monotonic()
        # A daemon thread: a question that never ends must not keep the process from ending.
        self._thread = threading.Thread(target=self._answer, name=f"health-{self._question.name}", daemon=True)
        self._thread.start()

    def result(self, deadline: float) -> Finding:
        if self._thread:
            self._thread.join(max(0.0, deadline - time.monotonic()))
        known = self._known
        if known:
            return known[1]
        seconds = time.monotonic() - self._began
        return Finding(
            self._question.name, False, f"no answer in {seconds:.0f} s", blocks=self._question.blocking, seconds=seconds
        )

    def _answer(self) -> None:
        try:
            answer = self._ask()
        except (KobeError, OSError, sqlite3.Error) as error:
            answer = Finding(self._question.name, False, redact(str(error)))
        except Exception as error:  # noqa: BLE001  a question that breaks is a failed check, never a page that does not load
            answer = Finding(self._question.name, False, redact(f"{type(error).__name__}: {error}"))
        ended = time.monotonic()
        self._known = (ended, replace(answer, blocks=self._question.blocking and answer.blocks, seconds=ended - self._began))

    def _ask(self) -> Finding:
        """The answer; asked again where a library's own import at first use met that of another question."""
        for _ in range(ATTEMPTS - 1):
            try:
                return self._question.ask()
            except RuntimeError as error:
                if type(error).__name__ != "_DeadlockError":
                    raise
                time.sleep(0.1)
        return self._question.ask()
