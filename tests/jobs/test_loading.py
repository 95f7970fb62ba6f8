"""What is read when the code location and the command line are merely imported: no settings, and no compiled code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from kobe_jobs import definitions
from kobe_jobs.cli.main import app
from kobe_resources.errors import UsageError

OPENED = """
import sys
opened = []
sys.addaudithook(lambda event, given: opened.append(str(given[0])) if event == "open" else None)
import {module}
print([name for name in opened if name.endswith(".toml")], "numba" in sys.modules and "compiled-" in str(opened))
"""


@pytest.mark.parametrize("module", ["kobe_jobs.definitions", "kobe_jobs.cli.main", "kobe_resources.runtime.jit"])
def test_an_import_reads_no_settings_and_no_compiled_code(module: str, tmp_path: Path) -> None:
    (tmp_path / "kobe.toml").write_text("this is no TOML")
    script = OPENED.format(module=module)
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["[]", "False"], done.stderr


@pytest.mark.parametrize("command", [(), ("report",), ("trade",), ("sweep",), ("config", "show"), ("backup",)])
def test_help_reads_no_settings(command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    (tmp_path / "kobe.toml").write_text("this is no TOML")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage" in result.output


def test_the_graph_is_built_when_dagster_asks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that cannot be read fail there, in a typed error, and not where the module is imported."""
    monkeypatch.setenv("KOBE_CONFIG", str(tmp_path / "kobe.toml"))
    with pytest.raises(UsageError, match="is not a file"):
        definitions.defs()
    monkeypatch.delenv("KOBE_CONFIG")
    loaded = definitions.defs()
    assert isinstance(loaded, dg.Definitions)
    dg.Definitions.validate_loadable(loaded)
