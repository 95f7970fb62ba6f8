"""A rig from settings: the broker of the stage, the ledger of the data folder, the warehouse and the kill switch."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator

from kobe_jobs.trading.run import Rig, open_ledger
from kobe_resources.broker import open_broker
from kobe_resources.kill_switch import KillSwitch
from kobe_resources.settings import Secrets, Settings
from kobe_resources.warehouse import Warehouse


@contextlib.contextmanager
def open_rig(settings: Settings, secrets: Secrets, session: dt.date | None = None, run_id: str = "") -> Iterator[Rig]:
    """Everything a run needs, closed at the end. session: where a simulated clock shall stand."""
    stage = settings.broker.stage
    broker = open_broker(settings, secrets, stage, session)
    try:
        with open_ledger(settings, run_id=run_id) as ledger:
            yield Rig(settings, stage, broker, ledger, Warehouse(), KillSwitch())
    finally:
        broker.close()
