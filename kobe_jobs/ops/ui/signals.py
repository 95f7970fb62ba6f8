"""Signals as a request to stop that a loop polls; a second signal makes the request urgent."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Stop:
    """The request to stop, counted: after one signal children end in good order, after two at once."""

    def __init__(self) -> None:
        self.asked = 0
        self._once = threading.Event()

    def wait(self, seconds: float | None = None) -> bool:
        """True as soon as a stop was requested; False after `seconds`."""
        return self._once.wait(seconds)

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        self.asked += 1
        self._once.set()


@contextlib.contextmanager
def stop_signals() -> Iterator[Stop]:
    """Take SIGINT, SIGTERM and SIGHUP, also where a shell started us with SIGINT ignored: children inherit that."""
    stop = Stop()
    names = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    before = {name: signal.signal(name, stop) for name in names}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
