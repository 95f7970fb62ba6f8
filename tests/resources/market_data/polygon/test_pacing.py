"""The token bucket holds the plan's rate over any minute and any number of threads; waits follow the class of the failure."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

import pytest

from kobe_resources.market_data.over_network import RetryBudget
from kobe_resources.market_data.polygon.client import PolygonClient
from kobe_resources.market_data.polygon.errors import PolygonRateError, PolygonServerError, PolygonTransportError
from kobe_resources.market_data.polygon.pacing import MARGIN, RetryPolicy, Stopped, TokenBucket
from kobe_resources.market_data.protocol import SilentProgress
from tests.resources.market_data.polygon.conftest import FRIDAY, Shop
from tests.support.loopback_polygon import KEY, LoopbackPolygon, Market, random_market
from tests.support.loopback_polygon import faults as fault
from tests.support.waiting import until

MINUTE_S = 0.3


def taken(bucket: TokenBucket, calls: int, threads: int) -> list[float]:
    """The moments at which `threads` threads got `calls` tokens together."""
    moments: list[float] = []
    left = iter(range(calls))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                if next(left, None) is None:
                    return
            bucket.take()
            moments.append(time.monotonic())

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sorted(moments)


@pytest.mark.parametrize("threads", [1, 8])
def test_no_minute_sees_more_calls_than_the_plan_has(threads: int) -> None:
    moments = taken(TokenBucket(5, minute_s=MINUTE_S), calls=18, threads=threads)
    assert len(moments) == 18
    spans = [later - earlier for earlier, later in zip(moments, moments[5:], strict=False)]
    assert min(spans) >= MINUTE_S
    assert moments[-1] - moments[0] < 3 * MINUTE_S * MARGIN + 10.0


def test_a_fraction_of_a_call_a_minute_is_a_call_in_some_minutes() -> None:
    moments = taken(TokenBucket(0.5, minute_s=0.1), calls=3, threads=2)
    assert min(later - earlier for earlier, later in itertools.pairwise(moments)) >= 0.2


def test_when_the_last_of_some_calls_may_go_is_known_before() -> None:
    bucket = TokenBucket(4, minute_s=0.5)
    taken(bucket, calls=2, threads=1)
    due = {calls: time.monotonic() + bucket.due_s(calls) for calls in range(1, 8)}
    moments = taken(bucket, calls=7, threads=1)
    for calls, moment in enumerate(moments, start=1):
        assert due[calls] <= moment + 0.05
        assert due[calls] >= moment - 0.3
    assert TokenBucket(0).due_s(1000) == 0.0


def test_the_time_left_waits_for_the_tokens_of_a_first_burst_to_come_back(
    with_market: Callable[[Market], Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = with_market(random_market(40, 10, seed=1, end=FRIDAY))
    notes: list[str] = []

    class Noted(SilentProgress):
        def advance(self, count: int = 1, note: str = "") -> None:
            notes.append(note)
            raise KeyboardInterrupt

    shop.server.faults.on(fault.slow(0.02))
    monkeypatch.setattr("kobe_resources.market_data.polygon.loader.COMMIT_AFTER_S", 0.2)
    with pytest.raises(KeyboardInterrupt):
        shop.sync(progress=Noted(), start="2026-11-16", calls_per_minute=36)
    seconds = int(notes[0].split()[1])
    assert 50 <= seconds <= 67


def test_zero_switches_pacing_off() -> None:
    moments = taken(TokenBucket(0), calls=2000, threads=4)
    assert moments[-1] - moments[0] < 10.0


def test_a_pause_holds_everybody_back_even_without_a_rate() -> None:
    bucket = TokenBucket(0)
    bucket.pause(0.2)
    began = time.monotonic()
    moments = taken(bucket, calls=4, threads=4)
    assert moments[0] - began >= 0.19


def test_a_stopped_bucket_gives_no_token() -> None:
    bucket = TokenBucket(1, minute_s=60)
    bucket.take()
    threading.Timer(0.05, bucket.stop).start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        bucket.take()
    assert time.monotonic() - began < 5.0


def test_the_client_keeps_the_rate_retries_included(server: LoopbackPolygon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "kobe_resources.market_data.polygon.client.TokenBucket", lambda rate: TokenBucket(rate, minute_s=MINUTE_S)
    )
    server.faults.on(fault.refused(503), times=2)
    client = PolygonClient(KEY, server.url, calls_per_minute=3, in_flight=4, budget=RetryBudget(first_backoff_s=0.001))
    began = time.monotonic()
    for _ in range(5):
        client.grouped_day(FRIDAY)
    assert len(server.calls) == 7
    assert time.monotonic() - began >= 2 * MINUTE_S


def test_a_429_waits_as_long_as_the_vendor_says(server: LoopbackPolygon) -> None:
    server.faults.on(fault.too_many("1"), times=1)
    client = PolygonClient(KEY, server.url, 0, 1, RetryBudget(rate_wait_s=60))
    began = time.monotonic()
    assert client.grouped_day(FRIDAY)
    assert 0.9 < time.monotonic() - began < 30.0


def test_a_429_that_says_nothing_waits_the_minute(server: LoopbackPolygon) -> None:
    server.faults.on(fault.too_many(), times=1)
    client = PolygonClient(KEY, server.url, 0, 1, RetryBudget(rate_wait_s=0.4))
    began = time.monotonic()
    assert client.grouped_day(FRIDAY)
    assert time.monotonic() - began >= 0.39


def test_a_429_holds_the_other_threads_back_too(server: LoopbackPolygon) -> None:
    server.faults.on(fault.too_many("1"), times=1)
    client = PolygonClient(KEY, server.url, 0, 4, RetryBudget())
    first = threading.Thread(target=client.grouped_day, args=(FRIDAY,))
    first.start()
    until(lambda: client._bucket._paused_until)
    client.grouped_day(FRIDAY)
    assert time.monotonic() >= client._bucket._paused_until
    first.join()


def test_backoff_grows_and_is_capped() -> None:
    waits: list[float] = []
    bucket = TokenBucket(0)
    bucket.sleep = waits.append  # type: ignore[method-assign]
    policy = RetryPolicy(bucket, RetryBudget(first_backoff_s=1.0, longest_backoff_s=8.0, after_server=200))

    def fail() -> None:
        raise PolygonServerError("down")

    with pytest.raises(PolygonServerError):
        policy(fail)
    assert len(waits) == 200
    assert max(waits) <= 8.0
    assert waits[0] <= 1.0
    assert max(waits[20:]) > 4.0


def test_classes_are_counted_apart() -> None:
    bucket = TokenBucket(0)
    bucket.sleep = lambda seconds: None  # type: ignore[method-assign]
    policy = RetryPolicy(bucket, RetryBudget(after_server=2, after_transport=2, rate_wait_s=0, after_rate=2))
    troubles = [PolygonServerError("a"), PolygonTransportError("b"), PolygonRateError("c")] * 2
    asked = 0

    def ask() -> str:
        nonlocal asked
        asked += 1
        if troubles:
            raise troubles.pop()
        return "whole"

    assert policy(ask) == "whole"
    assert asked == 7


def test_what_is_no_polygon_error_is_a_bug_and_is_not_retried() -> None:
    asked = []

    def ask() -> None:
        asked.append(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        RetryPolicy(TokenBucket(0), RetryBudget())(ask)
    assert len(asked) == 1
