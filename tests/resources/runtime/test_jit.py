"""Where compiled code is kept: never where a backup could put it, and only where nobody else writes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

BESIDE = Path(sys.prefix).resolve() / "cache" / "kobe"
"""Beside the installed packages, where the user's cache cannot be used."""
SHOW = "from kobe_resources.runtime.jit import cache_folder; print(cache_folder())"


def cache(**environment: str) -> Path | None:
    """The folder that a process of its own chooses."""
    env = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    done = subprocess.run([sys.executable, "-c", SHOW], env={**env, **environment}, capture_output=True, text=True, check=True)
    return None if done.stdout.strip() == "None" else Path(done.stdout.strip())


def test_it_lies_in_the_users_cache_and_is_the_users_alone(tmp_path: Path) -> None:
    found = cache(XDG_CACHE_HOME=str(tmp_path / "cache"), KOBE_HOME=str(tmp_path / "data"))
    assert found is not None
    assert found.parent == tmp_path / "cache" / "kobe"
    for folder in (found, found.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not (tmp_path / "data").exists()
    found = cache(HOME=str(tmp_path / "me"), XDG_CACHE_HOME="not/absolute")
    assert found is not None
    assert found.parent == tmp_path / "me" / ".cache" / "kobe"


def test_without_a_home_that_can_be_written_it_lies_beside_the_packages(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    found = cache(HOME=str(blocked))
    assert found is not None
    assert found.parent == BESIDE


@pytest.mark.parametrize(("variable", "instead"), [("NUMBA_CACHE_DIR", None), ("XDG_CACHE_HOME", BESIDE)])
def test_it_never_lies_in_the_data_folder(tmp_path: Path, variable: str, instead: Path | None) -> None:
    home = tmp_path / "data"
    (tmp_path / "linked").symlink_to(home)
    home.mkdir()
    for place in (home / "cache", tmp_path / "linked" / "cache"):
        found = cache(KOBE_HOME=str(home), **{variable: str(place)})
        assert (found and found.parent) == instead
    assert not list(home.iterdir())


def test_a_folder_that_others_can_write_is_not_read(tmp_path: Path) -> None:
    caches = tmp_path / "cache"
    found = cache(XDG_CACHE_HOME=str(caches))
    assert found is not None
    for planted in (found, found.parent):
        planted.chmod(0o777)
        other = cache(XDG_CACHE_HOME=str(caches))
        assert other is not None
        assert other.parent == BESIDE
        planted.chmod(0o700)
    found.rmdir()
    found.symlink_to(tmp_path)
    other = cache(XDG_CACHE_HOME=str(caches))
    assert other is not None
    assert other.parent == BESIDE
