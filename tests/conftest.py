"""Fixtures for every test: a data folder of its own, and no setting of the person who runs the tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

SECRETS = ("POLYGON_API_KEY", "ALPACA_API_KEY_ID", "ALPACA_API_SECRET_KEY", "KOBE_ENV_FILE")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell script that starts the tests with `&` leaves them, and all that they start, deaf to the interrupts they send.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in list(os.environ):
        if (name.startswith("KOBE_") and name != "KOBE_HOME") or name in SECRETS:
            monkeypatch.delenv(name)
    if "KOBE_HOME" not in os.environ:
        monkeypatch.setenv("KOBE_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty KOBE_HOME."""
    folder = tmp_path / "home"
    monkeypatch.setenv("KOBE_HOME", str(folder))
    return folder


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Benchmarks measure and are no tests: `make bench` runs them, `make test` does not even collect them."""
    return True if collection_path.name == "benchmarks" and not config.getoption("--benchmark-only") else None
