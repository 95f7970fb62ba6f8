"""A total deadline for HTTP calls: whatever a server does, drip or keep silent, a call ends when its time is over.

A socket's timeout counts the silence between two bytes only, so one byte a second holds a caller for ever. Here the time of a
whole call is counted by a thread that shuts the socket: handshake, headers and body alike. Names of hosts are resolved, and
connections opened, under the timeouts of their own.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_of_thread = threading.local()


class Deadline:
    """Ends what the calling thread asks over a bounded pool inside the block, once `seconds` are over; then `is_over`."""

    def __init__(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds
        self.is_over = False
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def __enter__(self) -> Deadline:
        _of_thread.deadline = self
        _alarm.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _of_thread.deadline = None
        _alarm.remove(self)
        with self._lock:
            self._let_go()

    def watch(self, twin: socket.socket) -> None:
        """The call now goes over this socket. Raises TimeoutError where its time is over already."""
        with self._lock:
            self._let_go()
            # A socket of our own: the connection may close its one while the answer is still read.
            self._socket = twin.dup()
            if self.is_over:
                raise TimeoutError("the call took too long")

    def end(self) -> None:
        """The time is over: who reads or writes on the socket is woken."""
        with self._lock:
            self.is_over = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def _let_go(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class _Alarm:
    """One thread for all calls, started by the first; it wakes for calls that last, not for each."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: set[Deadline] = set()
        self._wakes_at = float("inf")
        self._thread: threading.Thread | None = None

    def add(self, deadline: Deadline) -> None:
        with self._changed:
            if self._thread is None or not self._thread.is_alive():
                # The first call, or the first one after a fork: the calls of the other process are not ours to end.
                self._running.clear()
                self._wakes_at = deadline.at
                self._thread = threading.Thread(target=self._run, name="call-deadline", daemon=True)
                self._thread.start()
            elif deadline.at < self._wakes_at:
                # All: after a fork, the first in the queue may be a thread that is no more.
                self._changed.notify_all()
            self._running.add(deadline)

    def remove(self, deadline: Deadline) -> None:
        with self._changed:
            self._running.discard(deadline)

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for deadline in [running for running in self._running if running.at <= now]:
                    self._running.discard(deadline)
                    deadline.end()
                self._wakes_at = min((running.at for running in self._running), default=float("inf"))
                self._changed.wait(None if self._wakes_at == float("inf") else self._wakes_at - now)


_alarm = _Alarm()


class _Watched(HTTPConnection):
    """A connection that registers its socket with the thread's deadline."""

    _twin: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        opened = super()._new_conn()
        self._drop_twin()
        # TLS takes the first socket over; shutting this one ends the handshake too.
        self._twin = opened.dup()
        try:
            self._tell_deadline()
        except TimeoutError:
            opened.close()
            raise
        return opened

    def request(self, *args: Any, **options: Any) -> None:
        """As of urllib3, under the deadline of the thread."""
        self._tell_deadline()
        super().request(*args, **options)

    def close(self) -> None:
        """As of urllib3."""
        super().close()
        self._drop_twin()

    def _tell_deadline(self) -> None:
        deadline: Deadline | None = getattr(_of_thread, "deadline", None)
        if deadline is not None and self._twin is not None:
            deadline.watch(self._twin)

    def _drop_twin(self) -> None:
        if self._twin is not None:
            self._twin.close()
            self._twin = None


class _WatchedTLS(_Watched, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Watched


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedTLS


BOUNDED_POOLS: dict[str, Any] = {"http": _Pool, "https": _TLSPool}
"""For `PoolManager.pool_classes_by_scheme`: pools whose connections end with the deadline of the thread that asks."""
