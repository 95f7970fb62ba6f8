"""A deadline for code that may never come back, such as a file of a person's own."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import threading
import time
from collections.abc import Iterator
from queue import Empty, SimpleQueue
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


# An error that strikes as the block ends cuts short whatever line comes next. So a block is left by calls that are whole or not
# at all (of lists and queues, not of events and locks, which are Python themselves), and each stands in a `finally` once more:
# between two strikes lies a second.


@contextlib.contextmanager
def _by_signal(seconds: float, error: type[BaseException]) -> Iterator[None]:
    over: list[bool] = []

    def ring(*_: Any) -> None:
        if not over:
            raise error

    begun = time.monotonic()
    handler, left, interval = signal.signal(signal.SIGALRM, ring), 0.0, 0.0
    try:
        left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)
        yield
    finally:
        try:
            over.append(True)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)
            if left:
                # A timer that was running is another's deadline.
                signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - begun), 0.001), interval)


@contextlib.contextmanager
def _by_another_thread(seconds: float, error: type[BaseException]) -> Iterator[None]:
    thread = ctypes.c_ulong(threading.get_ident())
    begun, over, gone = (SimpleQueue[bool]() for _ in range(3))

    def watch() -> None:
        # Not before the other thread is where it may be interrupted: to start a thread takes locks of all threads.
        begun.get()
        wait = seconds
        while True:
            try:
                over.get(timeout=wait)
            except Empty:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(error))
                wait = AGAIN_S
            else:
                gone.put(True)
                return

    threading.Thread(target=watch, daemon=True, name="deadline").start()
    try:
        begun.put(True)
        yield
    finally:
        try:
            over.put(True)
        finally:
            over.put(True)
            # What it raised while this thread came here is taken back; after it has gone nothing is raised any more.
            gone.get()
            ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, None)
