"""The newest signals in Dagster's history, and whether they are those that a session trades on.

Trusts nothing but the run that made them: it must have succeeded, and every blocking check of signals in it.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import dagster as dg

from kobe_resources import calendar


def latest_signals(instance: dg.DagsterInstance) -> Any:
    """The record of the last materialization of signals; None where there is none."""
    records = instance.fetch_materializations(dg.AssetKey("signals"), limit=1).records
    return records[0] if records else None


def why_not_these(instance: dg.DagsterInstance, landed: Any, session: dt.date | None) -> str:
    """Why `session` is not traded on these signals; empty where it is."""
    run = instance.get_run_by_id(landed.run_id)
    if run is None or run.status != dg.DagsterRunStatus.SUCCESS:
        return f"the run that made the signals is {run.status.value if run else 'gone'}"
    unproven = _unproven_checks(instance, landed.run_id)
    if unproven:
        return f"the signals' check {unproven} did not pass in the run that made them"
    recorded = landed.asset_materialization.metadata.get("session") if landed.asset_materialization else None
    wanted = calendar.previous_session(session) if session else None
    found = str(recorded.value) if recorded is not None else "no session"
    return "" if found == str(wanted) else f"the signals are of {found}, session {session} needs {wanted}"


def _unproven_checks(instance: dg.DagsterInstance, run_id: str) -> str:
    """The first blocking check of signals that did not pass in this very run; empty where all did."""
    from kobe_assets.signals import CHECKS

    keys = [spec.key for spec in CHECKS if spec.blocking]
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    for key in keys:
        record = records.get(key)
        if record is None or record.run_id != run_id or record.status.value != "SUCCEEDED":
            return key.name
    return ""
