"""A trading run of the command line, as the Dagster UI shows it."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path

import dagster as dg
import pytest

from kobe_jobs.trading.reporting.dagster_events import show_run
from kobe_jobs.trading.reporting.summary import RunSummary
from kobe_resources.runtime.dagster_instance import open_instance

SUMMARY = RunSummary(
    run_id="0123456789ab", stage="simulated", account="A", strategy="rsi2", session=dt.date(2024, 1, 3),
    signal_session=dt.date(2024, 1, 2), signals=2, refused={"no_bar": 1}, submitted=1, filled=1, unfilled=0, unsettled=0,
    pending=0, exits={}, exits_filled=0, stops=1, unprotected=(), budget_used="75.00", orphans=(), differences=(),
    config_pin="pin", audit_head="6:ab",
)  # fmt: skip


def test_runs_of_the_command_line_appear_under_runs_and_in_the_assets_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOBE_HOME", str(tmp_path))
    show_run(SUMMARY)
    assert not (tmp_path / "dagster").exists()
    with open_instance():
        pass
    show_run(SUMMARY)
    show_run(dataclasses.replace(SUMMARY, halted="the kill switch is on"))
    with open_instance() as instance:
        runs = instance.get_runs()
        assert [(run.job_name, run.status.value) for run in runs] == [
            ("trade_session", "FAILURE"),
            ("trade_session", "SUCCESS"),
        ]
        assert {run.tags["kobe/session"] for run in runs} == {"2024-01-03"}
        for asset in ("orders", "fills", "positions"):
            event = instance.get_latest_materialization_event(dg.AssetKey(asset))
            assert event is not None
            assert event.run_id == runs[0].run_id
