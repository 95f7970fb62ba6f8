"""The step of `make test` that finds a browser takes none that does not start, and ends well where none can be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import browser


def program(folder: Path, name: str, code: int) -> Path:
    """A program on the PATH that ends with `code`."""
    path = folder / name
    path.write_text(f"#!/bin/sh\nexit {code}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(browser, "_downloaded", lambda: None)
    return tmp_path


def test_a_program_that_does_not_start_is_no_browser(on_path: Path) -> None:
    program(on_path, "chromium", 1)
    assert browser.browser_path() is None
    chrome = program(on_path, "google-chrome", 0)
    assert browser.browser_path() == str(chrome)


def test_a_browser_is_fetched_in_order_and_only_where_there_is_none(
    on_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def run(*command: str) -> bool:
        asked.append(command[-1] if command[0] == "apt-get" else "playwright")
        if command[0] == "apt-get" and "install" in command:
            program(on_path, "chromium", 0)
        return command[0] == "apt-get"

    monkeypatch.setattr(browser, "_run", run)
    monkeypatch.setattr(browser.os, "geteuid", lambda: 0)
    program(on_path, "apt-get", 0)
    assert browser.fetch_browser() == str(on_path / "chromium")
    assert asked == ["playwright", "-qq", "chromium"]
    assert "Playwright downloads its own" in capsys.readouterr().out
    assert browser.fetch_browser() is not None
    assert len(asked) == 3, "what is there is not fetched again"
