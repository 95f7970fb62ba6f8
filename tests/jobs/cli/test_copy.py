"""A copy of Kobe outside its clone has no migrations: it refuses in one line, and makes no data folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kobe_resources.settings.load import INSTALL, PROJECT_ROOT


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages as a plain `pip install .` puts them into site-packages."""
    folder = tmp_path_factory.mktemp("copy") / "site-packages"
    for package in ("kobe_assets", "kobe_resources", "kobe_jobs"):
        shutil.copytree(PROJECT_ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def run(copy: Path, *arguments: str, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "KOBE_HOME"} | {"PYTHONPATH": str(copy)}
    if home:
        env["KOBE_HOME"] = str(home)
    command = [sys.executable, "-m", "kobe_jobs.cli", *arguments]
    return subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("command", [("report",), ("kill", "on", "why"), ("config", "show")])
def test_it_refuses_every_command_in_one_line_that_names_the_mend(copy: Path, command: tuple[str, ...]) -> None:
    done = run(copy, *command)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines() == [f"kobe: Kobe runs from {copy}, which is not its clone: in the clone run {INSTALL} ."]
    assert not (copy / "warehouse").exists()


def test_with_a_named_data_folder_only_the_kill_switch_works(copy: Path, home: Path) -> None:
    assert run(copy, "kill", "on", "why", home=home).returncode == 0
    assert (home / "KILL_SWITCH").is_file()
    refused = run(copy, "report", home=home)
    assert refused.returncode == 2
    assert INSTALL in refused.stderr


def test_the_page_on_clusters_installs_an_extra_into_the_clone() -> None:
    assert f"\n{INSTALL} '.[scale]'\n" in (PROJECT_ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
