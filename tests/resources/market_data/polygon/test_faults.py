"""Whole loads under random faults, kills and interrupts: in the end the stored bars are the served bars, to the last bit,
and nothing that was committed is ever asked for again.
"""

from __future__ import annotations

import datetime as dt
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from kobe_resources.market_data.polygon.errors import PolygonAuthError, PolygonError, PolygonMalformed, PolygonServerError
from kobe_resources.market_data.polygon.loader import in_order
from tests.resources.market_data.polygon.conftest import FRIDAY, Shop, assert_same_bars, served
from tests.support.loopback_polygon import KEY, LoopbackPolygon, Market, random_market
from tests.support.loopback_polygon import faults as fault

ROOT = Path(__file__).parents[4]
START = "2026-06-01"
SUNDAY = dt.datetime(2026, 11, 22, 12, 0, tzinfo=dt.UTC)
"""Friday is surely published by then, so that no load begins by asking whether it is."""

CHILD = """
import datetime as dt, os, sys
from kobe_resources.market_data.polygon import loader as polygon_load
from kobe_resources.market_data.polygon.vendor import PolygonVendor
from kobe_resources.settings.models import Settings
from kobe_resources.settings.secrets import Secrets
from kobe_resources.warehouse.store import Warehouse
url, start, manner, commit_after_s = sys.argv[1:]
polygon_load.COMMIT_AFTER_S = float(commit_after_s)
polygon = {"base_url": url, "calls_per_minute": 0, "in_flight": 3, "first_load": manner}
settings = Settings(data={"vendor": "polygon", "start": start, "polygon": polygon}, universe={"require_options": False})
now = dt.datetime.fromisoformat("2026-11-22T12:00:00+00:00")
PolygonVendor(settings, Secrets(polygon_api_key=os.environ["POLYGON_API_KEY"]), now=lambda: now).sync(Warehouse())
"""


def child(shop: Shop, manner: str, commit_after_s: float) -> subprocess.Popen[bytes]:
    """A load in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, shop.server.url, START, manner, str(commit_after_s)],
        cwd=ROOT,
        env={**os.environ, "KOBE_HOME": str(shop.home), "POLYGON_API_KEY": KEY},
        stderr=subprocess.PIPE,
    )


def wait_for_calls(server: LoopbackPolygon, pattern: str, count: int, process: subprocess.Popen[bytes]) -> None:
    """Until the server has answered `count` calls; fails where the load ends before."""
    deadline = time.monotonic() + 60
    while len(server.paths(pattern)) < count:
        assert process.poll() is None, process.stderr.read().decode() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.005)


def done_keys(shop: Shop, kind: str) -> set[str]:
    """The checkpoints that stand, as keys."""
    return {row[0] for row in shop.warehouse.rows("SELECT key FROM bar_checkpoints WHERE kind = ?", [kind])}


def asked_for(paths: list[str], manner: str) -> list[str]:
    """What calls were for: the symbols of range calls, the dates of days."""
    return [path.split("/")[4] if manner == "range" else path[-10:] for path in paths]


@pytest.mark.parametrize(("manner", "seed"), [("range", 11), ("range", 12), ("grouped", 13), ("grouped", 14)])
def test_after_random_faults_the_store_holds_what_was_served(
    with_market: Callable[[Market], Shop], manner: str, seed: int
) -> None:
    shop = with_market(random_market(40, 130, seed, end=dt.date(2026, 11, 24)))
    shop.now = SUNDAY
    shop.server.faults.at_random(0.3, seed)
    committed: set[str] = set()
    kind, pattern = ("symbol", "/range/") if manner == "range" else ("day", "/grouped/")
    for _ in range(30):
        shop.server.forget()
        try:
            report = shop.sync(start=START, first_load=manner)
        except PolygonError:
            report = None
        assert not committed & set(asked_for(shop.server.paths(pattern), manner))
        committed = done_keys(shop, kind)
        if report is not None:
            break
    assert report is not None
    market = shop.server.market
    assert_same_bars(shop.stored(), served(market, START))
    assert shop.rows("SELECT count(*) FROM bar_revisions") == [(0,)]
    shop.server.faults.clear()
    shop.now += dt.timedelta(days=2)
    shop.sync(start=START, first_load=manner)
    assert_same_bars(shop.stored(), served(market, START, "2026-11-23"))


def test_random_faults_did_happen(with_market: Callable[[Market], Shop]) -> None:
    """The script above is no script of nothing: of each call in three, one is spoilt, in many ways."""
    shop = with_market(random_market(40, 130, 11, end=FRIDAY))
    shop.server.faults.at_random(0.3, 11)
    for _ in range(30):
        try:
            shop.sync(start=START)
            break
        except PolygonError:
            continue
    spoilt = sum(not call.honest for call in shop.server.calls)
    assert spoilt > 10
    assert len({call.status for call in shop.server.calls}) >= 4


@pytest.mark.parametrize("manner", ["range", "grouped"])
def test_killed_at_any_moment_a_load_loses_little_and_repeats_nothing(
    with_market: Callable[[Market], Shop], manner: str
) -> None:
    shop = with_market(random_market(60, 130, 5, end=FRIDAY))
    shop.now = SUNDAY
    kind, pattern, total = ("symbol", "/range/", 60) if manner == "range" else ("day", "/grouped/", 122)
    shop.server.faults.on(fault.slow(0.02), path=pattern)
    committed: set[str] = set()
    for share in (0.25, 0.55, 0.8):
        shop.server.forget()
        process = child(shop, manner, commit_after_s=0.05)
        wait_for_calls(shop.server, pattern, max(1, round(total * share) - len(committed)), process)
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=30) == -signal.SIGKILL
        if process.stderr:
            process.stderr.close()
        assert not committed & set(asked_for(shop.server.paths(pattern), manner))
        before, committed = committed, done_keys(shop, kind)
        assert before <= committed
        stored = served(shop.server.market, START)
        kept = stored["symbol"] if manner == "range" else stored["session"].dt.date.astype(str)
        assert_same_bars(shop.stored(), stored[kept.isin(committed)].reset_index(drop=True))
    assert 0 < len(committed) < total
    shop.server.forget()
    shop.sync(start=START, first_load=manner)
    asked_last = Counter(asked_for(shop.server.paths(pattern), manner))
    assert len(asked_last) == total - len(committed)
    assert not committed & set(asked_last)
    assert set(asked_last.values()) == {1}
    assert_same_bars(shop.stored(), served(shop.server.market, START))
    assert shop.rows("SELECT count(*) FROM bar_revisions") == [(0,)]


def test_an_interrupt_keeps_every_answer_that_had_arrived(with_market: Callable[[Market], Shop]) -> None:
    shop = with_market(random_market(60, 130, 5, end=FRIDAY))
    shop.server.faults.on(fault.slow(0.05), path="/range/")
    process = child(shop, "range", commit_after_s=3600.0)
    wait_for_calls(shop.server, "/range/", 30, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode != 0
    assert b"KeyboardInterrupt" in said
    assert KEY.encode() not in said
    assert len(done_keys(shop, "symbol")) >= 30 - 2 * 3
    assert not done_keys(shop, "load")
    shop.server.faults.clear()
    shop.sync(start=START)
    assert_same_bars(shop.stored(), served(shop.server.market, START))


@pytest.mark.parametrize("blow", [PolygonAuthError("no such key"), KeyboardInterrupt()])
def test_answers_behind_the_one_waited_for_are_kept_when_it_ends_the_load(blow: BaseException) -> None:
    others_done = threading.Barrier(6)

    def fetch(task: int) -> int:
        others_done.wait(timeout=10)
        if task == 0:
            time.sleep(0.2)
            raise blow
        return task

    outcomes = in_order(range(6), fetch, in_flight=6, alone=True)
    kept = [outcome[:2] for outcome in itertools.islice(filter(None, outcomes), 5)]
    with pytest.raises(type(blow)):
        next(outcomes)
    assert kept == [(task, task) for task in range(1, 6)]


def test_an_outage_ends_the_load_after_a_few_and_keeps_the_answers_behind_them() -> None:
    failing = {1, 3, 4, 5}
    others_done = threading.Barrier(8)

    def fetch(task: int) -> int:
        others_done.wait(timeout=10)
        if task in failing:
            time.sleep(0.2)
            raise PolygonServerError("down")
        return task

    outcomes = filter(None, in_order(range(8), fetch, in_flight=8, alone=True))
    seen = [(task, error is None) for task, _, error in itertools.islice(outcomes, 7)]
    with pytest.raises(PolygonServerError):
        next(outcomes)
    assert seen == [(0, True), (1, False), (2, True), (3, False), (4, False), (6, True), (7, True)]


def test_days_behind_one_that_failed_are_not_kept_because_they_would_leave_a_hole() -> None:
    def fetch(task: int) -> int:
        if task == 0:
            time.sleep(0.1)
            raise PolygonMalformed("nonsense")
        return task

    with pytest.raises(PolygonMalformed):
        assert list(in_order(range(4), fetch, in_flight=4, alone=False)) == []


def test_a_lost_network_keeps_every_answer_that_had_arrived(with_market: Callable[[Market], Shop]) -> None:
    shop = with_market(random_market(60, 130, 5, end=FRIDAY))
    shop.server.faults.on(fault.reset, calls=range(34, 10_000))
    with pytest.raises(PolygonError, match="no whole answer"):
        shop.sync(start=START)
    had = done_keys(shop, "symbol")
    assert len(had) >= 33 - 3 - 2
    shop.server.faults.clear()
    shop.server.forget()
    shop.sync(start=START)
    assert not had & set(asked_for(shop.server.paths("/range/"), "range"))
    assert_same_bars(shop.stored(), served(shop.server.market, START))
