"""Child processes that end on request, when one of them ends, and when this process dies, so that none trades unsupervised."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from kobe_jobs.ops.ui.signals import Stop
from kobe_resources.runtime.event_log import append_line, redact

STOP_WAIT_S = 75.0
"""A code server waits a minute for the runs it started."""
POLL_S = 0.05
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Children:
    """Python modules run as children in process groups of their own; leaving the block stops all, the last started first.

    environment: added to ours. log: where what they print goes, without secrets, rotated. stop: a second request during
    the stopping kills at once.
    """

    def __init__(self, environment: Mapping[str, str], log: Path, stop: Stop) -> None:
        self._environment = {**os.environ, **environment}
        self._log = log
        self._stop = stop
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._orphan_reaper: subprocess.Popen[bytes]

    def start(self, name: str, module: str, *arguments: str) -> None:
        """Run `python -m module arguments`."""
        assert self._orphan_reaper.stdin is not None
        reaper = self._orphan_reaper.stdin.fileno()
        # A group of its own: Ctrl-C reaches us alone, and we stop the children in order.
        child = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Before it becomes the module, so that none is unknown to the reaper.
            preexec_fn=lambda: os.write(reaper, b"%d\n" % os.getpid()) and None,
        )
        # A daemon thread: a run that outlives its code server keeps the pipe open.
        threading.Thread(target=self._keep, args=(name, child.stdout), name=f"log-{name}", daemon=True).start()
        self._running[name] = child

    def _keep(self, name: str, output: IO[bytes]) -> None:
        for line in output:
            text = _COLOURS.sub("", line.decode("utf-8", "replace").rstrip())
            if text:
                append_line(self._log, f"{name}: {redact(text)}")

    def first_dead(self) -> str:
        """'name (exit code)' of a child that ended, or ''."""
        return next(
            (f"{name} (exit {child.returncode})" for name, child in self._running.items() if child.poll() is not None), ""
        )

    def __enter__(self) -> Self:
        self._orphan_reaper = subprocess.Popen(
            [sys.executable, "-m", "kobe_jobs.ops.ui.orphans", str(STOP_WAIT_S)], stdin=subprocess.PIPE, start_new_session=True
        )
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        children = list(reversed(self._running.values()))
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
        deadline = time.monotonic() + STOP_WAIT_S
        while any(child.poll() is None for child in children) and time.monotonic() < deadline and self._stop.asked < 2:
            time.sleep(POLL_S)
        for child in children:
            # The rest of its group, too: what it left behind, should it have died or hung.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        self._orphan_reaper.kill()
        self._orphan_reaper.communicate()
