"""Work on all cores: every item once, in order, and what the caller does meanwhile."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest

from kobe_assets.research import parallel
from kobe_assets.research.parallel import in_threads


@pytest.fixture(autouse=True)
def _three_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On a machine of any size."""
    monkeypatch.setattr(parallel, "CORES", 3)
    parallel._pool.cache_clear()
    yield
    parallel._pool.cache_clear()


def test_every_item_is_worked_on_once_and_its_result_stands_in_its_place() -> None:
    seen: list[int] = []

    def work(k: int) -> int:
        seen.append(k)
        return 2 * k

    assert in_threads(work, range(500)) == [2 * k for k in range(500)]
    assert sorted(seen) == list(range(500))


def test_the_caller_does_something_else_while_the_others_begin() -> None:
    begun = threading.Event()
    workers: set[str] = set()

    def work(k: int) -> int:
        workers.add(threading.current_thread().name)
        begun.set()
        return k

    waited: list[bool] = []
    assert in_threads(work, range(50), lambda: waited.append(begun.wait(30))) == list(range(50))
    assert waited == [True]
    assert any(name.startswith("kobe") for name in workers)


def test_what_the_caller_does_meanwhile_may_use_threads_too() -> None:
    release = threading.Event()
    inner: list[list[int]] = []

    def meanwhile() -> None:
        # The helpers are busy until this is done: it waits for none of them.
        inner.append(in_threads(lambda k: k + 1, range(20)))
        release.set()

    assert in_threads(lambda k: k if release.wait(30) else -1, range(9), meanwhile) == list(range(9))
    assert inner == [list(range(1, 21))]


@pytest.mark.parametrize("items", [0, 1, 40])
def test_an_error_of_what_the_caller_does_meanwhile_ends_the_rest(items: int) -> None:
    def fail() -> None:
        raise ValueError("no bars")

    with pytest.raises(ValueError, match="no bars"):
        in_threads(lambda k: k, range(items), fail)
    assert in_threads(lambda k: k, range(5)) == list(range(5))


def test_an_error_in_any_thread_is_raised() -> None:
    def work(k: int) -> int:
        if k == 30:
            raise ValueError("item 30")
        return k

    with pytest.raises(ValueError, match="item 30"):
        in_threads(work, range(60))


@pytest.mark.parametrize("where", ["meanwhile", "at work", "while it waits"])
def test_a_stopped_caller_waits_for_no_other_thread_and_the_rest_is_left(where: str) -> None:
    release, begun, seen = threading.Event(), threading.Event(), set[int]()

    def stop() -> None:
        assert begun.wait(30)
        raise KeyboardInterrupt

    def work(k: int) -> None:
        if threading.current_thread().name.startswith("kobe"):
            seen.add(k)
            begun.set()
            release.wait(30)
        elif where == "at work":
            stop()

    # What pytest-xdist makes of Ctrl-C is nothing.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    main = threading.main_thread().ident
    assert main is not None
    if where == "while it waits":
        threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT)).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        in_threads(work, range(500), stop if where == "meanwhile" else lambda: None)
    signal.signal(signal.SIGINT, handler)
    assert time.monotonic() - began < 20
    release.set()
    assert in_threads(lambda k: k, range(5)) == list(range(5))
    assert len(seen) <= 2


def test_a_caller_that_is_stopped_while_it_asks_for_help_leaves_nothing_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    begun, release = threading.Event(), threading.Event()
    pool = parallel._pool(os.getpid())

    class Stopped:
        asked = 0

        def submit(self, work: Callable[[], None]) -> Future[None]:
            self.asked += 1
            if self.asked == 2:
                assert begun.wait(30)
                raise KeyboardInterrupt
            return pool.submit(work)

    def work(k: int) -> None:
        seen.append(k)
        begun.set()
        release.wait(30)

    stopped = Stopped()
    with monkeypatch.context() as patched:
        patched.setattr(parallel, "_pool", lambda _: stopped)
        with pytest.raises(KeyboardInterrupt):
            in_threads(work, range(50))
    release.set()
    pool.shutdown(wait=True)
    assert seen == [0]
