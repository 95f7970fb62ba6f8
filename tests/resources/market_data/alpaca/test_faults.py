"""Whole loads under random faults, kills and interrupts: in the end the stored bars are the served bars, to the last bit,
and nothing that was committed is ever asked for again.
"""

from __future__ import annotations

import datetime as dt
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kobe_resources.market_data.alpaca.client import AlpacaDataClient, Keys
from kobe_resources.market_data.alpaca.errors import AlpacaError
from kobe_resources.market_data.over_network import RetryBudget
from tests.resources.market_data.alpaca.conftest import Shop, assert_same_bars, served
from tests.support.loopback_alpaca import KEY_ID, SECRET, alpaca_market
from tests.support.loopback_alpaca.faults import PASSING, cut_short, edited, empty
from tests.support.loopback_polygon.faults import drip, slow

ROOT = Path(__file__).parents[4]
FRIDAY = dt.date(2026, 11, 20)
Open = Callable[..., Shop]

CHILD = """
import datetime as dt, os, sys
from kobe_resources.market_data.alpaca import plan
from kobe_resources.market_data.alpaca.vendor import AlpacaVendor
from kobe_resources.settings.models import Settings
from kobe_resources.settings.secrets import Secrets
from kobe_resources.warehouse.store import Warehouse
url, rows_a_batch = sys.argv[1:]
plan.ROWS_A_BATCH = int(rows_a_batch)
alpaca = {"base_url": url, "assets_url": url, "calls_per_minute": 0}
settings = Settings(data={"vendor": "alpaca", "alpaca": alpaca}, universe={"require_options": False})
secrets = Secrets(alpaca_api_key_id=os.environ["ALPACA_API_KEY_ID"], alpaca_api_secret_key=os.environ["ALPACA_API_SECRET_KEY"])
now = dt.datetime.fromisoformat("2026-11-21T12:00:00+00:00")
AlpacaVendor(settings, secrets, now=lambda: now).sync(Warehouse())
"""


def child(shop: Shop, rows_a_batch: int = 10_000) -> subprocess.Popen[bytes]:
    """A load in a process of its own."""
    keys = {"ALPACA_API_KEY_ID": KEY_ID, "ALPACA_API_SECRET_KEY": SECRET}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, shop.server.url, str(rows_a_batch)],
        cwd=ROOT,
        env={**os.environ, "KOBE_HOME": str(shop.home), **keys},
        stderr=subprocess.PIPE,
    )


def wait_for(shop: Shop, count: int, process: subprocess.Popen[bytes]) -> None:
    """Until the bars of so many symbols were asked for; fails where the load ends before."""
    deadline = time.monotonic() + 60
    while len(set(shop.server.asked())) < count:
        assert process.poll() is None, process.stderr.read().decode() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.005)


def covered(shop: Shop) -> set[str]:
    """The symbols whose checkpoints stand."""
    return {row[0] for row in shop.warehouse.rows("SELECT key FROM bar_checkpoints WHERE kind = 'symbol'")}


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_after_random_faults_the_store_holds_what_was_served(
    with_market: Open, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr("kobe_resources.market_data.alpaca.plan.ROWS_A_BATCH", 10_000)
    shop = with_market(alpaca_market(20, 60, seed, dt.date(2026, 11, 24)), page_limit=97)
    shop.server.faults.at_random(0.3, seed, PASSING)
    report = None
    for _ in range(30):
        before = covered(shop) if shop.warehouse.path.exists() else set()
        shop.server.forget()
        try:
            report = shop.sync()
            break
        except AlpacaError:
            assert not before & set(shop.server.asked())
    assert report is not None
    assert sum(not call.honest for call in shop.server.calls) > 0
    assert_same_bars(shop.stored(), served(shop.market))
    assert shop.rows("SELECT count(*) FROM bar_revisions") == [(0,)]
    assert shop.rows("SELECT count(*) FROM bar_refusals UNION ALL SELECT count(*) FROM set_aside") == [(0,), (0,)]
    shop.market.now += dt.timedelta(days=3)
    shop.server.faults.clear()
    shop.sync()
    assert_same_bars(shop.stored(), served(shop.market, last="2026-11-23"))


def test_pages_cut_short_again_and_again_lose_no_bar(with_market: Open) -> None:
    shop = with_market(alpaca_market(12, 60, 4, FRIDAY), page_limit=50)
    # Every third page ends the list, and one of the answers after it is empty: 720 bars, at most 100 at a time.
    shop.server.faults.on(cut_short, path="stocks/bars", calls=range(3, 60, 3))
    shop.server.faults.on(empty, path="stocks/bars", calls=range(4, 60, 9))
    shop.sync()
    assert_same_bars(shop.stored(), served(shop.market))


def test_killed_at_any_moment_a_load_loses_little_and_repeats_nothing(with_market: Open) -> None:
    shop = with_market(alpaca_market(30, 60, 5, FRIDAY))
    shop.server.faults.on(slow(0.05), path="stocks/bars")
    committed: set[str] = set()
    for share in (8, 16, 24):
        shop.server.forget()
        process = child(shop)
        wait_for(shop, share - len(committed), process)
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=30) == -signal.SIGKILL
        if process.stderr:
            process.stderr.close()
        assert not committed & set(shop.server.asked())
        before, committed = committed, covered(shop)
        assert before <= committed
        wanted = served(shop.market)
        assert_same_bars(shop.stored(), wanted[wanted["symbol"].isin(committed)].reset_index(drop=True))
    assert 0 < len(committed) < 30
    shop.server.faults.clear()
    shop.server.forget()
    shop.sync()
    assert not committed & set(shop.server.asked())
    assert_same_bars(shop.stored(), served(shop.market))
    assert shop.rows("SELECT count(*) FROM bar_revisions") == [(0,)]


@pytest.mark.parametrize("seed", [1, 2])
def test_kills_among_faults_leave_the_served_bars(with_market: Open, seed: int) -> None:
    chance = random.Random(seed)
    shop = with_market(alpaca_market(20, 60, seed, FRIDAY), page_limit=97)
    shop.server.faults.at_random(0.1, seed, PASSING)
    for share in (5, 11):
        shop.server.forget()
        process = child(shop)
        deadline = time.monotonic() + 20
        while len(set(shop.server.asked())) < share - len(covered(shop)) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(chance.uniform(0.005, 0.02))
        process.kill()
        process.wait(timeout=30)
        if process.stderr:
            process.stderr.close()
    shop.server.faults.clear()
    shop.sync()
    assert_same_bars(shop.stored(), served(shop.market))
    assert shop.rows("SELECT count(*) FROM bar_revisions UNION ALL SELECT count(*) FROM set_aside") == [(0,), (0,)]


def test_an_interrupt_ends_the_load_and_tells_no_key(with_market: Open) -> None:
    shop = with_market(alpaca_market(30, 60, 5, FRIDAY))
    shop.server.faults.on(slow(0.05), path="stocks/bars")
    process = child(shop)
    wait_for(shop, 10, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode != 0
    assert SECRET.encode() not in said
    assert KEY_ID.encode() not in said
    assert 0 < len(covered(shop)) < 30
    shop.server.faults.clear()
    shop.sync()
    assert_same_bars(shop.stored(), served(shop.market))


def test_an_answer_that_drips_ends_with_its_total_time(with_market: Open) -> None:
    shop = with_market(alpaca_market(3, 40, 5, FRIDAY))
    shop.budget = replace(shop.budget, total_s=0.5, after_transport=0)
    shop.server.faults.on(drip, path="stocks/bars")
    began = time.monotonic()
    with pytest.raises(AlpacaError, match="no whole answer"):
        shop.sync()
    assert time.monotonic() - began < 10


def test_a_bar_of_a_saturday_is_set_aside_and_its_symbol_goes_on(with_market: Open) -> None:
    shop = with_market(alpaca_market(3, 40, 5, FRIDAY))

    def with_saturday(answer: dict[str, Any], _: random.Random) -> dict[str, Any]:
        for rows in (answer.get("bars") or {}).values():
            rows.append({**rows[-1], "t": "2026-11-14T05:00:00Z"})
        return answer

    shop.server.faults.on(edited(with_saturday), path="stocks/bars")
    shop.sync()
    assert_same_bars(shop.stored(), served(shop.market))
    aside = "SELECT source, count(DISTINCT symbol), min(session), min(reason) FROM set_aside GROUP BY source"
    assert shop.rows(aside) == [("alpaca", 3, dt.date(2026, 11, 14), "no session of the exchange")]


def test_where_nothing_ever_answered_a_load_ends_within_seconds() -> None:
    keys = Keys(KEY_ID, SECRET)
    client = AlpacaDataClient(keys, "http://127.0.0.1:9", "http://127.0.0.1:9", budget=RetryBudget(first_answer_s=0.5))
    began = time.monotonic()
    with pytest.raises(AlpacaError, match="check the network"):
        client.assets()
    assert time.monotonic() - began < 3
