"""What each worker of the tests would otherwise do for itself: kernels and modules compiled once, before they start.

`python -m tests.support.ready` (a step of `make test`) computes a small report, which compiles the kernels that most tests
use, and lets pytest collect, which keeps the tests and the packages as bytecode. A failure of either is left for the tests
to show.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "KOBE_DATA__VENDOR": "synthetic",
    "KOBE_DATA__SYNTHETIC__SYMBOLS": "3",
    "KOBE_DATA__SYNTHETIC__SESSIONS": "560",
    "KOBE_REPORT__RESAMPLES": "20",
    "KOBE_REPORT__PERMUTATIONS": "2",
}
"""Settings of a market whose whole report takes a few seconds, for tests of what happens around the computation."""
LIMIT_S = 300


def get_ready() -> None:
    """Both at once, their words kept from the screen."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KOBE_")}
    # Where the environment forbids bytecode, each process of the tests would compile every module it imports.
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as home:
        report = [sys.executable, "-m", "kobe_jobs.cli", "report"]
        collection = [sys.executable, "-m", "pytest", "--collect-only"]
        started = [
            _start(report, Path(home), kept | SMALL | {"KOBE_HOME": str(Path(home) / "data")}),
            _start(collection, ROOT, kept),
        ]
        for process in started:
            try:
                process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start(command: list[str], folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    get_ready()
