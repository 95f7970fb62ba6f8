"""Ends the children that a killed parent left: `python -m kobe_jobs.ops.ui.orphans SECONDS`, process ids on stdin.

The kernel's own signal at a parent's death does not do: it comes once for every thread of the parent, and a second one
interrupts a Dagster process that is just about to stop its children.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence

POLL_S = 0.05


def main() -> None:
    """Read process-group leaders, one a line, until the parent closes the pipe; then end their groups."""
    leaders = [int(line) for line in sys.stdin]
    end_groups(leaders[::-1], float(sys.argv[1]))


def end_groups(leaders: Sequence[int], seconds: float) -> None:
    """Ask each leader once, in this order, and kill what is left of the groups after `seconds`."""
    for leader in leaders:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(leader, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while any(map(_works, leaders)) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    for leader in leaders:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)


def _works(leader: int) -> bool:
    try:
        os.killpg(leader, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    main()
