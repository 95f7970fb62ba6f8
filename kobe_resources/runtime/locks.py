"""Locks that one process holds at a time; the operating system frees them when the process dies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from kobe_resources.errors import KobeError


@contextlib.contextmanager
def exclusive(path: Path, refusal: KobeError, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock at `path` while the block runs. Raises `refusal` where another process holds it for over `wait_s`."""
    from filelock import FileLock, Timeout

    with contextlib.ExitStack() as held:
        try:
            held.enter_context(FileLock(path, timeout=wait_s, mode=0o600))
        except Timeout:
            raise refusal from None
        yield
