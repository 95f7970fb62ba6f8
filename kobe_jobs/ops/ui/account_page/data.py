"""What the account page shows, as plain data: the account, the simulation beside it, tomorrow's orders, health.

What takes long, the simulation, is computed in a thread of its own and joins the page when it is there.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from typing import Any

from kobe_jobs.ops.health.checks import Watch, questions
from kobe_jobs.trading.account import AccountView, look_at_account, simulated_curve
from kobe_jobs.trading.on_record import ledger_to_look_at, warehouse_to_look_at
from kobe_resources.errors import KobeError
from kobe_resources.runtime.event_log import get_logger, redact
from kobe_resources.settings.load import load_settings
from kobe_resources.settings.models import Settings
from kobe_resources.settings.pins import config_pin
from kobe_resources.warehouse.store import Warehouse

KEEP_S = 3.0
KEEP_HEALTH_S = 20.0
LOCK_WAIT_S = 5.0
log = get_logger("account")


class AccountData:
    """The page's data, kept for some seconds, so that many tabs cost what one does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: tuple[float, dict[str, Any]] | None = None
        self._simulation = _Simulation()
        self._health: Watch | None = None

    def get(self) -> dict[str, Any]:
        """One object; `problem` says why there is no account to show."""
        with self._lock:
            if self._known is None or time.monotonic() - self._known[0] > KEEP_S:
                self._known = (time.monotonic(), self._look())
            return self._known[1]

    def forget(self) -> None:
        """Drop what is kept, so that the next request reads the account anew."""
        with self._lock:
            self._known = None

    def _look(self) -> dict[str, Any]:
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        try:
            settings = load_settings()
            warehouse = warehouse_to_look_at(LOCK_WAIT_S)
            with ledger_to_look_at() as ledger:
                view = look_at_account(settings, ledger, warehouse)
        except KobeError as error:
            return {"at": now, "problem": str(redact(str(error))), "account": None, "simulated": None, "health": []}
        except Exception as error:
            log.exception("the account cannot be shown")
            problem = redact(f"{type(error).__name__}: {error}")
            return {"at": now, "problem": problem, "account": None, "simulated": None, "health": []}
        simulated = self._simulation.of(settings, warehouse, view)
        return {
            "at": now, "problem": "", "account": redact(view.as_json()), "simulated": simulated,
            "health": self._checks(settings),
        }  # fmt: skip

    def _checks(self, settings: Settings) -> list[dict[str, Any]]:
        if self._health is None:
            self._health = Watch(questions(settings), limit_s=LOCK_WAIT_S, keep_s=KEEP_HEALTH_S)
        return [{"name": c.name, "ok": c.ok, "blocks": c.blocks, "seen": c.seen} for c in self._health.look()]


class _Simulation:
    """The simulation's curve for the days that the account has lived through, computed once for each last day."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] = ()
        self._curve: list[float] | None = None
        self._thread: threading.Thread | None = None

    def of(self, settings: Settings, warehouse: Warehouse, view: AccountView) -> list[float] | None:
        """The curve; None until it is computed, and where its computation failed."""
        if view.started is None:
            return None
        changed = warehouse.path.stat().st_mtime_ns
        key = (view.stage, view.number, view.started, view.as_of, config_pin(settings), changed)
        if key == self._key:
            return self._curve
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(
                target=self._compute, args=(key, settings, warehouse, view), name="account-simulation", daemon=True
            )
            self._thread.start()
        return None

    def _compute(self, key: tuple[Any, ...], settings: Settings, warehouse: Warehouse, view: AccountView) -> None:
        assert view.started is not None
        days = dt.date.fromisoformat(view.started), dt.date.fromisoformat(view.as_of)
        try:
            curve = simulated_curve(settings, warehouse, *days)
        except Exception as error:  # noqa: BLE001  the account is shown without it
            log.warning("the simulation beside the account failed", reason=f"{type(error).__name__}: {error}")
            curve = None
        self._curve, self._key = curve, key
