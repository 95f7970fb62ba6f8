"""Waiting for what must come soon: a condition is polled, because a fixed pause is too short on one machine and long on all."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(holds: Callable[[], object], limit_s: float = 20.0) -> None:
    """Return once `holds()` is true; fails after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, f"did not come within {limit_s:g} s"
        time.sleep(0.01)
