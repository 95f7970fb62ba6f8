"""What a yes looks like: a market with a planted edge earns it through every gate, and a market of noise does not.

They are the markets of examples/planted_edge, through the whole path from a file of bars to the verdict.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kobe_assets.report.analysis.verdict import UNWORTHY, WORTHY
from kobe_jobs.research_run.stale import bring_up_to_date
from kobe_resources.settings.load import load_settings
from kobe_resources.warehouse.store import Warehouse

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "planted_edge" / "make_market.py"
RESAMPLES = "100"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_market", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def verdicts(folder: Path, settings_file: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """(strategy, mode) → its row of the verdict, of a report on that market."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOBE_HOME", str(folder / "home"))
        patch.setenv("KOBE_CONFIG", str(settings_file))
        patch.setenv("KOBE_REPORT__RESAMPLES", RESAMPLES)
        bring_up_to_date(load_settings())
        ((stored,),) = Warehouse().rows("SELECT CAST(value AS VARCHAR) FROM evidence WHERE name = 'verdict'")
    return {(row["strategy"], row["mode"]): row for row in json.loads(stored)}


@pytest.fixture(scope="module")
def planted(example: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    folder = tmp_path_factory.mktemp("planted")
    return verdicts(folder, example.write_market(folder, example.REBOUND))


@pytest.fixture(scope="module")
def noise(example: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    folder = tmp_path_factory.mktemp("noise")
    return verdicts(folder, example.write_market(folder, 0.0, count=800))


def test_a_planted_edge_earns_a_yes(planted: dict[tuple[str, str], dict[str, Any]]) -> None:
    for book in (("rsi2_ibs", "optimized"), ("ibs", "optimized"), ("rsi2", "optimized")):
        row = planted[book]
        assert (row["verdict"], row["gates_passed"], row["failed"]) == (WORTHY, row["gates"], []), book


def test_noise_earns_a_no_and_is_told_by_how_far(noise: dict[tuple[str, str], dict[str, Any]]) -> None:
    for book, row in noise.items():
        assert row["verdict"] == UNWORTHY, book
        failed = {gate["gate"]: gate for gate in row["failed"]}
        assert {"low_end", "deflated", "permutation"} <= failed.keys(), book
        for gate in failed.values():
            if gate["state"] == "fail":
                assert gate["distance"] > 0, gate
                assert gate["shown"], gate
                assert gate["short"], gate
                assert gate["change"].endswith("."), gate
                assert gate["distance"] == pytest.approx(abs(gate["value"] - gate["bar"]))
