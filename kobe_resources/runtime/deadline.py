"""A deadline for code that may never come back, such as a file of a person's own."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

AGAIN_S = 1.0
"""Seconds between two attempts: code that takes an error for its own goes on after one."""


@contextlib.contextmanager
def stopped_after(seconds: float, error: type[BaseException]) -> Iterator[None]:
    """Raise `error` in this thread, at the line that it is at, once the block has taken `seconds`.

    In the main thread a signal does it, which ends a sleep and a wait for the network too; elsewhere Python can only be asked
    between two lines.
    """
    if threading.current_thread() is threading.main_thread():
        with _by_signal(seconds, error):
            yield
    else:
        with _by_another_thread(seconds, error):
            yield


@contextlib.contextmanager
def _by_signal(seconds: float, error: type[BaseException]) -> Iterator[None]:
    def ring(*_: Any) -> None:
        raise error

    begun = time.monotonic()
    handler = signal.signal(signal.SIGALRM, ring)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:
            # A timer that was running is another's deadline.
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - begun), 0.001), interval)


@contextlib.contextmanager
def _by_another_thread(seconds: float, error: type[BaseException]) -> Iterator[None]:
    thread, over, one_at_a_time = ctypes.c_ulong(threading.get_ident()), threading.Event(), threading.Lock()

    def watch() -> None:
        wait = seconds
        while not over.wait(wait):
            with one_at_a_time:
                if not over.is_set():
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(error))
            wait = AGAIN_S

    threading.Thread(target=watch, daemon=True, name="deadline").start()
    try:
        yield
    finally:
        with one_at_a_time:
            over.set()
            ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, None)
