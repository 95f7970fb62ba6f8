"""Code versions follow the sources: a change anywhere in what an asset is computed by makes it stale, and nothing else does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kobe_assets.graph.lineage import code_versions
from kobe_resources.settings.models import Settings
from tests.resources.settings.test_pins import IN_ORDER, turned_round

ROOT = Path(__file__).resolve().parents[3]
SHOW = """
import json
from kobe_assets.graph.lineage import code_versions
from kobe_jobs.trading.run_records import code_version
from kobe_resources.settings.load import load_settings
print(json.dumps({**code_versions(load_settings(), "source"), "trading": code_version()}))
"""
ON_BARS = {"universe", "indicators", "signals", "wf_folds", "kpi_report"}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone")
    for name in ("kobe_assets", "kobe_resources", "kobe_jobs", "warehouse/schema"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "data"))
    return folder


def versions(clone: Path) -> dict[str, str]:
    environment = {**os.environ, "PYTHONPATH": str(clone), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", SHOW], cwd=clone, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def before(clone: Path) -> dict[str, str]:
    return versions(clone)


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("warehouse/schema/001_tables.sql", ON_BARS | {"trading"}),
        ("kobe_resources/runtime/jit.py", ON_BARS | {"trading"}),
        ("kobe_assets/research/parallel.py", ON_BARS | {"trading"}),
        ("kobe_assets/graph/bar_table.sql", ON_BARS | {"trading"}),
        ("kobe_assets/selection/membership.sql", {"universe"}),
        ("kobe_assets/report/page/templates/verdict.html.j2", {"kpi_report"}),
        ("kobe_assets/research/strategies/rsi2.py", ON_BARS | {"trading"}),
        ("kobe_resources/policy_gate.py", ON_BARS - {"universe"} | {"trading"}),
        ("kobe_resources/kill_switch.py", {"trading"}),
        ("kobe_resources/broker/alpaca/adapter.py", {"trading"}),
        ("kobe_jobs/trading/snapshot_bars.sql", {"trading"}),
        ("kobe_jobs/cli/main.py", set()),
        ("kobe_jobs/ops/ui/server.py", set()),
    ],
)
def test_a_changed_source_changes_the_versions_that_stand_on_it(
    clone: Path, before: dict[str, str], file: str, changed: set[str]
) -> None:
    source = clone / file
    text = source.read_text(encoding="utf-8")
    mark = "-- changed\n" if source.suffix == ".sql" else "{# changed #}\n" if source.suffix == ".j2" else "# changed\n"
    try:
        source.write_text(text + mark, encoding="utf-8")
        after = versions(clone)
    finally:
        source.write_text(text, encoding="utf-8")
    assert {name for name in before if after[name] != before[name]} == changed


@pytest.mark.parametrize("given", IN_ORDER, ids=str)
def test_an_order_that_decides_makes_the_folds_stale(given: dict[str, Any]) -> None:
    one, other = (code_versions(Settings(**settings)) for settings in (given, turned_round(given)))
    assert {asset for asset in one if one[asset] != other[asset]} == {"wf_folds", "kpi_report"}
