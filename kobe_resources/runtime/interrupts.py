"""Whether a person stopped a computation, whatever the libraries below made of the signal."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator

STOPPING = frozenset({signal.SIGINT, signal.SIGTERM})


@contextlib.contextmanager
def noted_interrupts() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether this process was told to stop within the block.

    Dagster turns an interrupt into a failed step, and DuckDB into a failed query, neither of which says where it came from.
    Python itself writes the number of each signal to the wake-up socket, whatever handles it. Only its main thread may set
    that; in another thread the answer is no.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        try:
            yield lambda: _came(ours)
        finally:
            signal.set_wakeup_fd(before)


def _came(wakeups: socket.socket) -> bool:
    try:
        return not STOPPING.isdisjoint(wakeups.recv(4096))
    except BlockingIOError:
        return False
