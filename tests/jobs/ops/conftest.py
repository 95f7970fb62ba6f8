"""What the tests of operation share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of the test, which KOBE_HOME names; not there yet."""
    home = tmp_path / "data"
    monkeypatch.setenv("KOBE_HOME", str(home))
    return home
