"""How fast bars come in over real HTTP: the first load of 950 symbols × 10 years, and the top-up of 12,000 symbols.

The vendor is a process of its own with its answers built ahead. Each load runs in a fresh process too, so that the peak
memory measured is the load's own: VmHWM, because `ru_maxrss` of a child begins at its parent's. `make bench` prints the
limits beside the figures.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kobe_resources.warehouse.store import Warehouse
from tests.support.loopback_polygon import KEY

ROOT = Path(__file__).parents[2]
END = dt.date(2026, 11, 20)
MORNING_AFTER = "2026-11-23T05:00:00+00:00"

FIRST_LOAD_S, FIRST_LOAD_MB = 60.0, 1024.0
TOP_UP_S = 2.0

LOAD = """
import datetime as dt, json, re, sys, time
from pathlib import Path
import pandas as pd
from kobe_resources.market_data.polygon.vendor import PolygonVendor
from kobe_resources.settings.models import Settings
from kobe_resources.settings.secrets import Secrets
from kobe_resources.warehouse.store import Warehouse
settings = Settings(data={"vendor": "polygon", **json.loads(sys.argv[1])}, universe={"require_options": False})
vendor = PolygonVendor(settings, Secrets(polygon_api_key=sys.argv[2]), now=lambda: dt.datetime.fromisoformat(sys.argv[3]))
began = time.perf_counter()
report = vendor.sync(Warehouse())
peak_mb = int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
print(json.dumps({"seconds": time.perf_counter() - began, "mb": peak_mb, "added": report.added, "calls": report.calls}))
"""


@contextlib.contextmanager
def vendor_process(symbols: int, sessions: int, end: dt.date) -> Iterator[tuple[str, str]]:
    """(url, first session) of a loopback vendor with a random market."""
    command = [sys.executable, "-m", "tests.support.loopback_polygon", str(symbols), str(sessions), end.isoformat()]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            url, first, _ = process.stdout.readline().split()
            yield url, first
        finally:
            process.stdin.close()


def load(home: Path, data: dict[str, object], now: str = MORNING_AFTER) -> dict[str, float]:
    """One sync in a process of its own: seconds, peak mb, bars added, calls."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, json.dumps(data), KEY, now],
        cwd=ROOT,
        env={**os.environ, "KOBE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def say(what: str, figures: list[dict[str, float]], limit: str) -> None:
    """Print the best round and the greatest memory beside the limit; a benchmark measures and fails on nothing slow."""
    seconds, memory = min(figure["seconds"] for figure in figures), max(figure["mb"] for figure in figures)
    sys.stderr.write(f"\n  {what:<46} {seconds:9.4f} s {memory:10,.0f} MB   {limit}\n")


@pytest.mark.timeout(900)
def test_the_first_load_of_950_symbols_and_ten_years(benchmark, tmp_path):
    figures: list[dict[str, float]] = []
    with vendor_process(950, 2515, END) as (url, first):
        data = {"start": first, "polygon": {"base_url": url, "calls_per_minute": 0, "in_flight": 8}}
        benchmark.pedantic(lambda: figures.append(load(tmp_path / str(len(figures)), data)), rounds=2)
    benchmark.extra_info["figures"] = figures
    assert all(figure["added"] == 950 * 2515 for figure in figures)
    say("first load of 950 × 10 years", figures, f"under {FIRST_LOAD_S:g} s and {FIRST_LOAD_MB:,.0f} MB")


@pytest.mark.timeout(900)
def test_the_daily_top_up_of_12000_symbols(benchmark, tmp_path):
    figures: list[dict[str, float]] = []
    homes: list[Path] = []
    with vendor_process(12_000, 253, END) as (url, first):
        data = {
            "start": first,
            "polygon": {"base_url": url, "calls_per_minute": 0, "in_flight": 8, "first_load": "grouped"},
        }
        assert load(tmp_path / "before", data, "2026-11-19T23:30:00+00:00")["added"] == 12_000 * 252

        def yesterday() -> None:
            homes.append(tmp_path / f"round{len(homes)}")
            homes[-1].mkdir()
            shutil.copy(tmp_path / "before" / "kobe.duckdb", homes[-1] / "kobe.duckdb")

        benchmark.pedantic(lambda: figures.append(load(homes[-1], data)), setup=yesterday, rounds=3)
    for figure, home in zip(figures, homes, strict=True):
        assert (figure["added"], figure["calls"]) == (12_000, 5)
        assert Warehouse(home / "kobe.duckdb").rows("SELECT count(*) FROM daily_bars") == [(12_000 * 253,)]
    say("daily top-up of 12,000 symbols", figures, f"under {TOP_UP_S:g} s")
