"""The whole graph as a text that a person has read: assets, edges, checks, jobs, schedules, sensors and resources.

After a wanted change `python -m tests.jobs.test_graph_snapshot` writes it anew; read the difference before it is committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import dagster as dg

from kobe_jobs.definitions import build_definitions
from kobe_resources.settings.load import load_settings

GOLDEN = Path(__file__).with_name("graph.txt")


def test_the_graph_is_the_one_that_was_read() -> None:
    assert described(build_definitions(load_settings())) == GOLDEN.read_text(encoding="utf-8")


def described(definitions: dg.Definitions) -> str:
    """The graph in words, in an order of its own; versions and descriptions are left out, since they change without it."""
    graph = definitions.resolve_asset_graph()
    parts = {
        "assets": _assets(graph),
        "checks": _checks(graph),
        "jobs": _jobs(definitions),
        "schedules": _schedules(definitions),
        "sensors": _sensors(definitions),
        "resources": sorted(definitions.resources or {}),
    }
    return "\n".join(f"{name}\n" + "".join(f"  {line}\n" for line in lines) for name, lines in parts.items())


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _assets(graph: dg.AssetGraph) -> Iterator[str]:
    for key in sorted(graph.get_all_asset_keys(), key=str):
        node = graph.get(key)
        kind = "made here" if node.is_materializable else "external"
        above = _listed(parent.to_user_string() for parent in node.parent_keys)
        yield f"{key.to_user_string()} (group {node.group_name}, {kind}) reads {above}"


def _checks(graph: dg.AssetGraph) -> Iterator[str]:
    for key in sorted(graph.asset_check_keys, key=str):
        yield f"{key.asset_key.to_user_string()}: {key.name}" + (" (blocking)" if graph.get(key).blocking else "")


def _jobs(definitions: dg.Definitions) -> Iterator[str]:
    for job in sorted(definitions.resolve_all_job_defs(), key=lambda job: job.name):
        if not job.name.startswith("__"):
            yield f"{job.name}: {_listed(node.name for node in job.nodes)}"


def _schedules(definitions: dg.Definitions) -> Iterator[str]:
    for schedule in sorted(definitions.schedules or (), key=lambda schedule: schedule.name):
        at = f"{schedule.cron_schedule} {schedule.execution_timezone}"
        yield f"{schedule.name}: asks for {schedule.job_name} at {at}, {schedule.default_status.value}"


def _sensors(definitions: dg.Definitions) -> Iterator[str]:
    for sensor in sorted(definitions.sensors or (), key=lambda sensor: sensor.name):
        asked = _listed(target.job_name for target in sensor.targets)
        yield f"{sensor.name}: asks for {asked} every {sensor.minimum_interval_seconds} s, {sensor.default_status.value}"


if __name__ == "__main__":
    GOLDEN.write_text(described(build_definitions(load_settings())), encoding="utf-8")
