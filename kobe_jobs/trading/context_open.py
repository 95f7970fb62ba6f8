"""A rig from settings: the broker of the stage, the ledger of the data folder, the warehouse and the kill switch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from kobe_jobs.trading.session import Rig, open_ledger
from kobe_resources.broker.open import open_broker
from kobe_resources.errors import KobeError
from kobe_resources.kill_switch import KillSwitch
from kobe_resources.market_data.store import warehouse_of
from kobe_resources.settings.models import Settings
from kobe_resources.settings.secrets import Secrets


class NoBroker:
    """Stands where a broker could not be opened: every question is answered with the reason."""

    def __init__(self, reason: KobeError) -> None:
        self._reason = reason

    def __getattr__(self, name: str) -> Any:
        raise self._reason

    def close(self) -> None:
        """Nothing to let go of."""


@contextlib.contextmanager
def open_rig(
    settings: Settings, secrets: Secrets, run_id: str = "", leave_clock: bool = False, even_without_broker: bool = False
) -> Iterator[Rig]:
    """Everything a run needs, closed at the end.

    leave_clock: for a run that names its session, and moves a simulated clock there itself.
    even_without_broker: for looking only; what a broker that cannot be opened is asked raises why.
    """
    stage = settings.broker.stage
    warehouse = warehouse_of(settings)
    broker: Any
    try:
        broker = open_broker(settings, secrets, stage, leave_clock)
    except KobeError as error:
        if not even_without_broker:
            raise
        broker = NoBroker(error)
    try:
        with open_ledger(settings, run_id=run_id) as ledger:
            yield Rig(settings, stage, broker, ledger, warehouse, KillSwitch())
    finally:
        broker.close()
