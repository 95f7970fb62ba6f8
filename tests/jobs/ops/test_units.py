"""The systemd units: systemd itself finds nothing wrong with them, and no name or path becomes a directive."""

from __future__ import annotations

import configparser
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kobe_jobs.ops.units import rendered_units
from kobe_resources.errors import UsageError
from kobe_resources.settings.load import PROJECT_ROOT
from tests.support.drivers.command import kobe


def parsed(text: str) -> configparser.ConfigParser:
    # A directive may stand several times; the parser keeps the last.
    reader = configparser.ConfigParser(interpolation=None, strict=False)
    reader.optionxform = str  # type: ignore[assignment,method-assign]
    reader.read_string(text)
    return reader


def test_every_unit_runs_this_installation_as_the_user(home: Path) -> None:
    units = rendered_units("kobe")
    for name in ("kobe-ui.service", "kobe-health.service", "kobe-backup.service"):
        service = parsed(units[name])["Service"]
        assert service["User"] == "kobe"
        assert service["WorkingDirectory"] == str(PROJECT_ROOT)
        command = shlex.split(service["ExecStart"])
        assert command[0] == str(Path(sys.executable).with_name("kobe"))
        assert Path(command[0]).is_file()
        assert f'Environment="KOBE_HOME={home}"' in units[name]
    assert "$" not in "".join(units.values())


def test_the_file_of_keys_is_named_and_its_keys_are_not(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = tmp_path / "keys.env"
    keys.write_text("ALPACA_API_SECRET_KEY=very-secret\n")
    monkeypatch.setenv("KOBE_ENV_FILE", str(keys))
    monkeypatch.setenv("POLYGON_API_KEY", "also-secret")
    text = "".join(rendered_units("kobe").values())
    assert f"KOBE_ENV_FILE={keys}" in text
    assert "very-secret" not in text
    assert "also-secret" not in text


@pytest.mark.parametrize("user", ["", "Root", "a b", "kobe\nExecStart=/bin/sh", "-x", "%u", "ü"])
def test_a_strange_user_is_refused(home: Path, user: str) -> None:
    with pytest.raises(UsageError, match="user name"):
        rendered_units(user)


def test_strange_paths_stay_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_HOME", str(tmp_path / 'a "b" 100% $HOME'))
    units = rendered_units("kobe")
    assert '\\"b\\" 100%% $HOME"' in units["kobe-ui.service"]
    assert '\\"b\\" 100%% $$HOME-backups"' in units["kobe-backup.service"]
    monkeypatch.setenv("KOBE_HOME", str(tmp_path / "x\nUser=root"))
    with pytest.raises(UsageError, match="control characters"):
        rendered_units("kobe")


def test_systemd_finds_nothing_wrong(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "units"
    folder.mkdir()
    for name, text in rendered_units("root").items():
        (folder / name).write_text(text)
        assert parsed(text).sections()[0] == "Unit"
    tool = shutil.which("systemd-analyze")
    if tool is None:
        # Elsewhere than on Linux with systemd the parser above is what can be asked.
        return
    paths = sorted(str(path) for path in folder.iterdir())
    done = subprocess.run([tool, "verify", "--man=no", *paths], capture_output=True, text=True, timeout=60, check=False)
    complaints = [line for line in done.stderr.splitlines() if str(folder) in line or "kobe-" in line]
    assert not complaints


def test_a_folder_that_is_not_there_yet_is_made(tmp_path: Path) -> None:
    out = tmp_path / "new" / "units"
    assert kobe("units", "--user", "kobe", "--out", str(out)).code == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(rendered_units("kobe"))
