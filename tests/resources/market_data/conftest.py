"""A warehouse of its own for every test, and small frames of bars. Trusts pytest's tmp_path for isolation."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kobe_resources.warehouse.store import Warehouse


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """KOBE_HOME in the test's own folder, and no setting from outside."""
    for name in list(os.environ):
        if name.startswith("KOBE_"):
            monkeypatch.delenv(name)
    folder = tmp_path / "home"
    monkeypatch.setenv("KOBE_HOME", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def warehouse(home: Path) -> Warehouse:
    """An empty, migrated warehouse."""
    return Warehouse()
