"""A deadline ends the block and nothing after it, also where it strikes as the block ends."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time

import pytest

from kobe_resources.runtime import deadline
from kobe_resources.runtime.deadline import stopped_after


class Late(BaseException):
    """What these deadlines raise."""


def spin(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def race(deadline_s: float, block_s: float) -> None:
    """A block that ends shortly before, with or after its deadline."""
    with contextlib.suppress(Late), stopped_after(deadline_s, Late):
        spin(block_s)


def test_a_block_that_does_not_end_is_ended_and_a_quick_one_is_not() -> None:
    with pytest.raises(Late), stopped_after(0.05, Late):
        spin(5.0)
    with stopped_after(5.0, Late):
        spin(0.01)


def test_a_deadline_that_strikes_as_the_block_ends_leaves_no_timer_behind() -> None:
    before, rng = signal.getsignal(signal.SIGALRM), random.Random(7)
    for _ in range(1500):
        race(0.0002, rng.uniform(0.00015, 0.00025))
        assert signal.getitimer(signal.ITIMER_REAL)[1] == 0.0, "a timer that was running before goes on; this one rings again"
        assert signal.getsignal(signal.SIGALRM) is before


def test_in_another_thread_nothing_is_raised_once_the_block_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "AGAIN_S", 0.2)
    struck: list[str] = []

    def work() -> None:
        rng = random.Random(7)
        for _ in range(60):
            race(0.004, rng.uniform(0.002, 0.006))
        try:
            spin(0.5)
        except Late:
            struck.append("after the block")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not struck
    assert not [thread for thread in threading.enumerate() if thread.name == "deadline" and _lives_on(thread)]


def _lives_on(thread: threading.Thread) -> bool:
    thread.join(1.0)
    return thread.is_alive()
