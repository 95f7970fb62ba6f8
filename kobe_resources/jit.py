"""Compiled once, kept on disk: `njit` with numba's cache where a folder can be written, and without where none can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def njit(function: F) -> F:
    """Compile `function` in nopython mode, releasing the GIL; IEEE arithmetic, because results are pinned to the bit."""
    try:
        return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy")(function))
    except (RuntimeError, OSError):
        # numba finds no writable folder for its cache.
        return cast(F, numba.njit(nogil=True, error_model="numpy")(function))
