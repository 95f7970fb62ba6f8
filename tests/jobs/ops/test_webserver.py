"""The real webserver over a computed home: what it calls stale is what `kobe report` would compute."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kobe_jobs.research_run.stale import bring_up_to_date
from kobe_resources.runtime.dagster_instance import dagster_home
from kobe_resources.settings.load import PROJECT_ROOT, load_settings
from tests.support.ready import SMALL

QUERY = "{ assetNodes { assetKey { path } staleStatus isMaterializable dependencyKeys { path } groupName } }"
RELOAD = "mutation { reloadWorkspace { __typename } }"


@contextmanager
def webserver() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), "-w", "workspace.yaml"]
    process = subprocess.Popen(
        command,
        cwd=PROJECT_ROOT,
        env={**os.environ, "DAGSTER_HOME": str(dagster_home())},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def ask(base: str, query: str) -> dict[str, object]:
    request = urllib.request.Request(
        f"{base}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    )
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                found: dict[str, object] = json.load(answer)["data"]
                return found
        except (OSError, TypeError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


def nodes(base: str) -> dict[str, dict[str, object]]:
    return {node["assetKey"]["path"][0]: node for node in ask(base, QUERY)["assetNodes"]}  # type: ignore[attr-defined]


@pytest.fixture
def config(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of settings, empty as yet; everything is computed under them."""
    path = tmp_path / "kobe.toml"
    path.touch()
    monkeypatch.setenv("KOBE_CONFIG", str(path))
    for name, value in SMALL.items():
        monkeypatch.setenv(name, value)
    bring_up_to_date(load_settings())
    return path


def test_the_ui_agrees_on_what_is_stale(config: Path) -> None:
    research = ("daily_bars", "universe", "indicators", "signals", "wf_folds", "kpi_report")
    with webserver() as base:
        found = nodes(base)
        assert {name: found[name]["staleStatus"] for name in research} == dict.fromkeys(research, "FRESH")
        config.write_text("[costs]\nslippage_bps = 9\n", encoding="utf-8")
        # The graph is loaded anew, in a process of its own, as it is where a webserver starts.
        assert ask(base, RELOAD) == {"reloadWorkspace": {"__typename": "Workspace"}}
        found = nodes(base)
        stale = {name for name in research if found[name]["staleStatus"] == "STALE"}
    assert stale == {"wf_folds", "kpi_report"}
    assert {name for name in found if found[name]["isMaterializable"]} == set(research)
