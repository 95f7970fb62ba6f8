"""Trading in Dagster: the sensor's every reason to wait, the run it asks for, and for again, and the schedule."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from kobe_assets.signals import CHECKS
from kobe_jobs import research_job, retries, trading_job
from kobe_jobs.trading_job import signals_landed
from kobe_resources.kill_switch import KillSwitch
from kobe_resources.order_ledger import OrderLedger
from kobe_resources.order_ledger.sessions import claim_session, end_session
from kobe_resources.settings.models import Settings

pytestmark = pytest.mark.usefixtures("warehouses_stay_open")

WEDNESDAY = dt.date(2024, 3, 6)
NOON = dt.datetime(2024, 3, 6, 17, 0, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def _noon(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(trading_job, "_now", lambda: NOON)


def paper() -> Settings:
    return Settings(broker={"stage": "paper"})


def land_signals(
    instance: dg.DagsterInstance, session: str = "2024-03-05", check_passes: bool = True, checked: bool = True
) -> None:
    """A run that materializes signals, with their blocking checks."""

    @dg.asset
    def signals() -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata={"session": session})

    names = [spec.name for spec in CHECKS if spec.blocking]

    @dg.multi_asset_check(specs=[dg.AssetCheckSpec(name, asset="signals", blocking=True) for name in names])
    def checks() -> Iterator[dg.AssetCheckResult]:
        for name in names:
            yield dg.AssetCheckResult(passed=check_passes, asset_key="signals", check_name=name)

    dg.materialize([signals, *([checks] if checked else [])], instance=instance, raise_on_error=False)


def tick(
    instance: dg.DagsterInstance, cursor: str | None, settings: Settings | None = None, switched_on: float | None = None
) -> tuple[Any, str | None]:
    """One evaluation: what it returned, and the cursor it left."""
    resources = {"settings": settings or paper()}
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, resources=resources, last_sensor_start_time=switched_on
    ) as context:
        return signals_landed(context), context.cursor


def test_it_is_off_until_a_person_switches_it_on() -> None:
    assert signals_landed.default_status is dg.DefaultSensorStatus.STOPPED


def test_what_was_there_before_it_was_switched_on_is_ignored(instance: dg.DagsterInstance) -> None:
    land_signals(instance)
    first, cursor = tick(instance, None)
    assert isinstance(first, dg.SkipReason)
    again, _ = tick(instance, cursor)
    assert "no new signals" in str(again.skip_message)


def test_what_landed_while_it_was_switched_off_is_ignored_too(instance: dg.DagsterInstance) -> None:
    _, cursor = tick(instance, None, switched_on=time.time())
    land_signals(instance)
    again = time.time()
    first, cursor = tick(instance, cursor, switched_on=again)
    assert "ignored" in str(first.skip_message)
    assert "no new signals" in str(tick(instance, cursor, switched_on=again)[0].skip_message)
    land_signals(instance)
    assert isinstance(tick(instance, cursor, switched_on=again)[0], dg.RunRequest)


def test_new_signals_of_the_session_before_ask_for_one_run(instance: dg.DagsterInstance) -> None:
    _, cursor = tick(instance, None)
    land_signals(instance)
    request, after = tick(instance, cursor)
    assert isinstance(request, dg.RunRequest)
    assert request.run_key == "trade:paper:2024-03-06"
    assert request.run_config["ops"]["trade"]["config"] == {"session": "2024-03-06", "stage": "paper", "confirm": ""}
    assert "no new signals" in str(tick(instance, after)[0].skip_message)


def test_a_second_landing_in_the_same_session_has_the_same_run_key(instance: dg.DagsterInstance) -> None:
    _, cursor = tick(instance, None)
    land_signals(instance)
    first, cursor = tick(instance, cursor)
    land_signals(instance)
    second, _ = tick(instance, cursor)
    assert first.run_key == second.run_key


WAITS: dict[str, tuple[dict[str, Any], str]] = {
    "a failed blocking check": ({"check_passes": False}, "FAILURE"),
    "a run without the checks": ({"checked": False}, "no_lookahead"),
    "an older session": ({"session": "2024-03-04"}, "needs 2024-03-05"),
    "no session told": ({"session": ""}, "needs 2024-03-05"),
}


@pytest.mark.parametrize("name", WAITS)
def test_it_waits_on_signals_that_are_not_good_enough(instance: dg.DagsterInstance, name: str) -> None:
    landing, why = WAITS[name]
    _, cursor = tick(instance, None)
    land_signals(instance, **landing)
    answer, after = tick(instance, cursor)
    assert isinstance(answer, dg.SkipReason)
    assert why in str(answer.skip_message)
    assert after == cursor, "it must look again"


MOMENTS = {
    "before the opening": (dt.datetime(2024, 3, 6, 14, 29, tzinfo=dt.UTC), "shut"),
    "after the close": (dt.datetime(2024, 3, 6, 21, 0, tzinfo=dt.UTC), "shut"),
    "on a Saturday": (dt.datetime(2024, 3, 9, 17, 0, tzinfo=dt.UTC), "shut"),
    "in the last minutes": (dt.datetime(2024, 3, 6, 20, 50, tzinfo=dt.UTC), "entries end"),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_it_waits_outside_the_entry_window(instance: dg.DagsterInstance, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    moment, why = MOMENTS[name]
    _, cursor = tick(instance, None)
    land_signals(instance)
    monkeypatch.setattr(trading_job, "_now", lambda: moment)
    answer, after = tick(instance, cursor)
    assert why in str(answer.skip_message)
    assert after == cursor


def test_it_waits_while_the_kill_switch_is_on_and_asks_afterwards(instance: dg.DagsterInstance) -> None:
    _, cursor = tick(instance, None)
    land_signals(instance)
    KillSwitch().turn_on("lunch")
    assert "kill switch" in str(tick(instance, cursor)[0].skip_message)
    KillSwitch().turn_off()
    assert isinstance(tick(instance, cursor)[0], dg.RunRequest)


def test_live_is_left_to_a_person(instance: dg.DagsterInstance) -> None:
    live = Settings(broker={"stage": "live"})
    _, cursor = tick(instance, None, live)
    land_signals(instance)
    assert "by hand" in str(tick(instance, cursor, live)[0].skip_message)


CLOSES = {
    "half an hour after a close": (dt.datetime(2024, 3, 6, 21, 30, tzinfo=dt.UTC), "refresh:2024-03-06"),
    "before that": (dt.datetime(2024, 3, 6, 21, 15, tzinfo=dt.UTC), "refresh:2024-03-05"),
    "after a half day": (dt.datetime(2024, 7, 3, 17, 30, tzinfo=dt.UTC), "refresh:2024-07-03"),
    "on a holiday": (dt.datetime(2024, 7, 4, 21, 30, tzinfo=dt.UTC), "refresh:2024-07-03"),
}


@pytest.fixture
def stored_runs(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A schedule opens its instance by itself, so that one in memory will not do."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


@pytest.mark.parametrize("name", CLOSES)
def test_the_schedule_asks_once_a_session_after_its_close(name: str, stored_runs: dg.DagsterInstance) -> None:
    moment, key = CLOSES[name]
    assert evening_tick(stored_runs, moment).run_key == key


def evening_tick(stored_runs: dg.DagsterInstance, moment: dt.datetime) -> Any:
    """What the schedule says at `moment`, which is later than all that the instance has."""
    with dg.build_schedule_context(instance=stored_runs, scheduled_execution_time=moment) as context:
        return research_job.after_the_close(context)


def evening_run(stored_runs: dg.DagsterInstance, status: dg.DagsterRunStatus) -> None:
    stored_runs.add_run(dg.DagsterRun(job_name=research_job.REPORT_JOB, tags={"kobe/session": str(WEDNESDAY)}, status=status))


def test_an_evening_whose_run_failed_is_asked_for_again_until_it_needs_a_person(
    stored_runs: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = dt.datetime(2024, 3, 6, 21, 45, tzinfo=dt.UTC)
    monkeypatch.setattr(retries, "_ended", lambda records: moment.timestamp() - 660)
    keys = []
    for _ in range(len(retries.RETRY_AFTER_S) + 1):
        keys.append(evening_tick(stored_runs, moment).run_key)
        evening_run(stored_runs, dg.DagsterRunStatus.FAILURE)
    assert keys[:3] == ["refresh:2024-03-06", "refresh:2024-03-06:2", "refresh:2024-03-06:3"]
    assert len(set(keys)) == len(keys)
    assert "needs a person" in evening_tick(stored_runs, moment).skip_message


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELED])
def test_an_evening_whose_last_run_did_not_fail_is_left_alone(
    stored_runs: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, status: dg.DagsterRunStatus
) -> None:
    moment = dt.datetime(2024, 3, 6, 22, 0, tzinfo=dt.UTC)
    monkeypatch.setattr(retries, "_ended", lambda records: moment.timestamp() - 660)
    evening_run(stored_runs, dg.DagsterRunStatus.FAILURE)
    evening_run(stored_runs, status)
    assert "ended without a failure" in evening_tick(stored_runs, moment).skip_message
    assert evening_tick(stored_runs, moment + dt.timedelta(days=1)).run_key == "refresh:2024-03-07"


def test_a_failed_evening_is_not_asked_for_again_at_once(
    stored_runs: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = dt.datetime(2024, 3, 6, 21, 45, tzinfo=dt.UTC)
    monkeypatch.setattr(retries, "_ended", lambda records: moment.timestamp() - 10)
    evening_run(stored_runs, dg.DagsterRunStatus.FAILURE)
    assert "asked for again in 50 s" in evening_tick(stored_runs, moment).skip_message


def asked_for(instance: dg.DagsterInstance, count: int, status: dg.DagsterRunStatus = dg.DagsterRunStatus.FAILURE) -> None:
    """Runs of Wednesday that the sensor asked for, all of them ended so."""
    tags = {"kobe/stage": "paper", "kobe/session": str(WEDNESDAY)}
    for _ in range(count):
        instance.create_run_for_job(trading_job.trade_session, tags=tags, status=status)


def ticked_later(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, seconds: float) -> Any:
    """What the sensor says `seconds` after the runs ended, which was at noon."""
    moment = NOON + dt.timedelta(seconds=seconds)
    monkeypatch.setattr(retries, "_ended", lambda records: NOON.timestamp())
    monkeypatch.setattr(trading_job, "_now", lambda: moment)
    return tick(instance, "0")[0]


def test_a_session_that_a_run_left_unfinished_is_asked_for_again_with_longer_and_longer_pauses(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = []
    for tries, pause in enumerate(retries.RETRY_AFTER_S, start=1):
        asked_for(instance, 1)
        early = ticked_later(instance, monkeypatch, pause - 1)
        assert f"unfinished after {tries} runs" in str(early.skip_message)
        request = ticked_later(instance, monkeypatch, pause)
        assert request.run_config["ops"]["trade"]["config"]["session"] == str(WEDNESDAY)
        assert request.tags["kobe/session"] == str(WEDNESDAY)
        keys.append(request.run_key)
    assert len({"trade:paper:2024-03-06", *keys}) == len(retries.RETRY_AFTER_S) + 1
    asked_for(instance, 1)
    assert "needs a person" in str(ticked_later(instance, monkeypatch, 3600).skip_message)


def test_protection_is_asked_for_again_after_the_entries_ended_and_not_after_the_close(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for(instance, 1)
    near_the_close = dt.datetime(2024, 3, 6, 20, 55, tzinfo=dt.UTC) - NOON
    assert isinstance(ticked_later(instance, monkeypatch, near_the_close.total_seconds()), dg.RunRequest)
    shut = near_the_close + dt.timedelta(minutes=10)
    assert "no new signals" in str(ticked_later(instance, monkeypatch, shut.total_seconds()).skip_message)


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.SUCCESS])
def test_a_run_at_work_or_well_done_is_not_asked_for_again(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, status: dg.DagsterRunStatus
) -> None:
    asked_for(instance, 1)
    asked_for(instance, 1, status)
    assert "no new signals" in str(ticked_later(instance, monkeypatch, 3600).skip_message)


def test_a_run_after_the_open_is_asked_for_again_though_the_one_before_it_went_well(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for(instance, 1, dg.DagsterRunStatus.SUCCESS)
    asked_for(instance, 1)
    assert "after 1 runs" in str(ticked_later(instance, monkeypatch, 10).skip_message)
    assert ticked_later(instance, monkeypatch, 60).run_key == "trade:paper:2024-03-06:3"


@pytest.mark.parametrize(("state", "again"), [("done", False), ("halted", True), ("running", True)])
def test_what_the_ledger_says_is_done_is_not_asked_for_again(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, home: Path, state: str, again: bool
) -> None:
    with OrderLedger(home / "orders.sqlite") as ledger, ledger.write() as write:
        claim_session(write, "paper:PA1", WEDNESDAY, "rsi2", "me")
        end_session(write, "paper:PA1", WEDNESDAY, state, "")
    asked_for(instance, 1)
    assert isinstance(ticked_later(instance, monkeypatch, 3600), dg.RunRequest) is again


def test_nothing_is_asked_for_again_while_the_kill_switch_is_on(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for(instance, 1)
    KillSwitch().turn_on("lunch")
    assert "kill switch" in str(ticked_later(instance, monkeypatch, 3600).skip_message)
