"""Lazy materialization: run only what is stale, level by level, so that an unchanged parent leaves its children alone."""

from __future__ import annotations

import datetime as dt
import logging
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kobe_assets.graph.lineage import DEPENDS, code_versions, stale_assets
from kobe_jobs.research_run.vendor_freshness import needs_top_up, source_fingerprint
from kobe_resources.errors import KobeError
from kobe_resources.market_data.store import warehouse_of
from kobe_resources.runtime.report_summary import LATEST, read_summary
from kobe_resources.settings.load import kobe_home
from kobe_resources.settings.models import Settings
from kobe_resources.warehouse.shared_connection import keep_open
from kobe_resources.warehouse.store import Warehouse

if TYPE_CHECKING:
    import dagster as dg

MOST_ROUNDS = 12
MEND_FAULT = "mend what it names and run again; `kobe ui` shows all of it"

Watch = Callable[[str, str, float], None]
"""Called with (asset or check, "start" | "done" | "failed", seconds)."""


class ComputationFailed(KobeError):
    """An asset failed, or a blocking check stopped the assets below it."""


def bring_up_to_date(
    settings: Settings, force: bool = False, watch: Watch = lambda *_: None, targets: Collection[str] = DEPENDS
) -> list[str]:
    """Compute what is stale of `targets` (which include all that they depend on); the assets computed, in order.

    A source that cannot be read, a failed asset and a failed blocking check raise, and leave the old tables in place.
    """
    with keep_open(Warehouse().path):
        return _bring_up_to_date(settings, force, watch, targets)


def _bring_up_to_date(settings: Settings, force: bool, watch: Watch, targets: Collection[str]) -> list[str]:
    from kobe_assets.report.analysis.tries import figures_know_all_tries

    warehouse = warehouse_of(settings)
    versions = code_versions(settings, source_fingerprint(settings))
    missing = set() if _page_is_whole(report_page()) and figures_know_all_tries(warehouse, settings) else {"kpi_report"}
    if not (kobe_home() / "dagster" / "history").is_dir():
        # Without its history the UI calls everything unsynced; the two must agree.
        missing = set(DEPENDS)
    if needs_top_up(settings, warehouse, dt.datetime.now(dt.UTC)):
        missing.add("daily_bars")
    computed: list[str] = []
    for _ in range(MOST_ROUNDS):
        with warehouse.connect() as connection:
            todo = list(DEPENDS) if force else stale_assets(connection, versions, missing - set(computed), computed)
        todo = [asset for asset in todo if asset in targets]
        if not todo:
            return computed
        if not computed:
            check_grids(settings)
        run_assets(settings, todo, force, watch)
        computed += todo
        force = False
    raise ComputationFailed("assets stay stale however often they are computed", "run `kobe report --force`")


def run_assets(settings: Settings, assets: Sequence[str], force: bool = False, watch: Watch = lambda *_: None) -> str:
    """One Dagster run in this process over `assets` and their checks; its run id.

    Raises ComputationFailed, or KeyboardInterrupt where a person stopped it, which Dagster tells as a failure.
    """
    import dagster as dg

    from kobe_assets.daily_bars import FORCE_TAG
    from kobe_jobs.definitions import build_definitions
    from kobe_resources.runtime.dagster_instance import kept_open, open_instance, without_unstored_events
    from kobe_resources.runtime.event_log import configure_logging
    from kobe_resources.runtime.interrupts import noted_interrupts

    configure_logging()
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    job = build_definitions(settings).resolve_implicit_global_asset_job_def()
    run_id = str(uuid.uuid4())
    with open_instance() as instance, kept_open(run_id), without_unstored_events(), noted_interrupts() as was_stopped:
        instance.add_event_listener(run_id, _follow(watch))
        result = job.execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(asset) for asset in assets],
            run_id=run_id,
            raise_on_error=False,
            tags={FORCE_TAG: "true"} if force else None,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        stopped = not result.success and was_stopped()
    if stopped:
        raise KeyboardInterrupt
    if not result.success:
        raise _failure(result)
    return run_id


def check_grids(settings: Settings) -> None:
    """Refuse a grid that makes no sense, and a name of no strategy, before anything is computed. Raises UsageError."""
    from kobe_assets.graph.inputs import grid_of, registered

    for strategy in registered(settings).values():
        grid_of(settings, strategy)


def _page_is_whole(page: Path) -> bool:
    """Whether the page is there with the folder of data that it names; a backup leaves that folder out."""
    if not page.is_file():
        return False
    beside = (read_summary(page) or {}).get("data")
    return not beside or (page.parent / str(beside)).is_dir()


def report_page() -> Path:
    """Where the latest report lies."""
    return kobe_home() / "reports" / LATEST


def _follow(watch: Watch) -> Callable[[Any], None]:
    """Turn Dagster's step events into calls of `watch`."""
    began: dict[str, float] = {}

    def listen(entry: Any) -> None:
        event = entry.dagster_event if entry.is_dagster_event else None
        if event is None or event.step_key is None:
            return
        if event.is_step_start:
            began[event.step_key] = time.monotonic()
            watch(event.step_key, "start", 0.0)
        elif event.is_step_success or event.is_step_failure:
            seconds = time.monotonic() - began.get(event.step_key, time.monotonic())
            watch(event.step_key, "done" if event.is_step_success else "failed", seconds)

    return listen


def _failure(result: dg.ExecuteInProcessResult) -> KobeError:
    """The first cause of a failed run, in one line."""
    for check in result.get_asset_check_evaluations():
        if not check.passed and check.blocking:
            words = check.description or "see its metadata in the UI"
            what = f"the check {check.check_name} of {check.asset_key.to_user_string()} failed: {words}"
            return ComputationFailed(what, MEND_FAULT)
    for event in result.all_events:
        if event.is_step_failure:
            fault = _strategy_fault(event.step_failure_data.error)
            if fault:
                return fault
            error = _cause(event.step_failure_data.error)
            words = error.message.strip().splitlines()[0].split(": ", 1)[-1] if error else "unknown"
            hint = "" if error and error.cls_name in _known_errors() else "see its log with `kobe ui`"
            return ComputationFailed(f"{event.step_key} failed: {words}", hint)
    return ComputationFailed("the run failed", "see its log with `kobe ui`")


def _strategy_fault(error: Any) -> KobeError | None:
    """The fault of a strategy's declaration that lies beneath `error`."""
    from kobe_jobs.research_run.strategies import bad_strategy

    fault = None
    while error is not None and fault is None:
        fault = bad_strategy(error.cls_name, error.message.strip().split(": ", 1)[-1])
        error = error.cause
    return fault


def _cause(error: Any) -> Any:
    """The error of ours that names the mend, though a library's lies beneath it; else the deepest."""
    while error is not None and error.cause is not None and error.cls_name not in _known_errors():
        error = error.cause
    return error


def _known_errors() -> set[str]:
    """Names of KobeError and everything derived from it."""
    known, found = {KobeError}, [KobeError]
    while found:
        found = [child for parent in found for child in parent.__subclasses__()]
        known.update(found)
    return {error.__name__ for error in known}
