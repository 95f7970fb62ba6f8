"""The browser that the tests look at pages with: find one, or fetch one.

`python -m tests.support.browser` (a step of `make test`) sees to it that there is one: a browser of this machine, else
Playwright's own download, else Debian's package where we are root. It says in one line what it does. Where nothing
works it still ends with 0: then only the tests that need a browser fail, with the same line.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
DOWNLOAD_S = 300
MISSING = "no browser for the tests of the pages: install chromium (Debian: apt-get install chromium) and run them again"


def browser_path() -> str | None:
    """Where the program of a browser that starts lies: on the PATH, else Playwright's own; None where there is none."""
    named = (path for name in NAMES if (path := shutil.which(name)))
    return next((path for path in (*named, _downloaded()) if path and _starts(path)), None)


def _downloaded() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        path = Path(play.chromium.executable_path)
    return str(path) if path.exists() else None


def _starts(path: str) -> bool:
    """The program runs here: a download may lack libraries of the system."""
    try:
        return subprocess.run([path, "--version"], capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _run(*command: str) -> bool:
    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=DOWNLOAD_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def fetch_browser() -> str | None:
    """The path of a browser that starts, fetched where there was none; None where no way worked."""
    found = browser_path()
    if found:
        return found
    _say("no Chromium here: Playwright downloads its own, about 170 MB, once")
    if _run(sys.executable, "-m", "playwright", "install", "chromium") and (found := browser_path()):
        return found
    if hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):
        _say("that did not work: apt-get installs chromium, a minute or two, once")
        _run("apt-get", "update", "-qq")
        if _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"):
            return browser_path()
    return None


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if fetch_browser() is None:
        _say(MISSING)
