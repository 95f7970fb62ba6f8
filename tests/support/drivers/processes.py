"""Which processes are still at work."""

from __future__ import annotations

import time

import psutil


def outliving(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that still work after so long; an orphan that ended stays a zombie until its new parent looks after it."""

    def works(process: psutil.Process) -> bool:
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    deadline = time.monotonic() + seconds
    while any(works(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.1)
    return [process for process in processes if works(process)]
