"""The kill switch on the record: every turn of it is on the audit chain, with time and reason."""

from __future__ import annotations

from typing import Any

from kobe_jobs.trading.context import open_ledger
from kobe_jobs.trading.reporting.alerts import alert_if_healed
from kobe_resources.settings.models import Settings


def record_switch(settings: Settings, kind: str, **body: Any) -> str:
    """Put a turn of the switch on the chain; what was healed on the way, empty where nothing was."""
    with open_ledger(settings) as ledger:
        with ledger.write() as write:
            write.audit(kind, **body)
        ledger.copy_audit()
        return alert_if_healed(settings, ledger)
