"""Threads over shared arrays: compiled kernels and numpy release the GIL, so no array is copied for a worker."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_slices(size: int, slices: int, work: Callable[[int, int], T]) -> list[T]:
    """`work(begin, end)` over `slices` even parts of `range(size)`, on all cores; results in order."""
    bounds = [size * k // slices for k in range(slices + 1)]
    with ThreadPoolExecutor(CORES) as pool:
        return list(pool.map(work, bounds[:-1], bounds[1:]))
