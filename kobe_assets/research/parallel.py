"""Threads over shared arrays: compiled kernels and numpy release the GIL, so no array is copied for a worker."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import lru_cache
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_thread = threading.local()


def in_threads(work: Callable[[S], T], items: Iterable[S], meanwhile: Callable[[], None] = lambda: None) -> list[T]:
    """`work(item)` for every item, on all cores, the caller's thread among them; results in order.

    Work that calls this function again is done in its own thread. The first error ends the rest and is raised.
    Ctrl-C in the caller's thread waits for no other. meanwhile: what the caller's thread does before it helps; with this
    function too, but then alone.
    """
    given = list(items)
    if CORES == 1 or len(given) < 2 or getattr(_thread, "at_work", False):
        meanwhile()
        return [work(item) for item in given]
    results: list[T | None] = [None] * len(given)
    left, failed = iter(range(len(given))), threading.Event()

    def drain() -> None:
        try:
            _thread.at_work = True
            for k in left:
                if failed.is_set():
                    return
                results[k] = work(given[k])
        except BaseException:
            failed.set()
            raise
        finally:
            _thread.at_work = False

    helpers: list[Future[None]] = []
    try:
        for _ in range(min(CORES, len(given)) - 1):
            helpers.append(_pool(os.getpid()).submit(drain))
        meanwhile()
        drain()
    except BaseException as error:
        failed.set()
        begun = _begun(helpers)
        if isinstance(error, Exception):
            wait(begun)
        # After Ctrl-C nothing is waited for: a person's own function in a helper may never come back.
        raise
    begun = _begun(helpers)
    wait(begun)
    for helper in begun:
        helper.result()
    return results  # type: ignore[return-value]


def _begun(helpers: list[Future[None]]) -> list[Future[None]]:
    """The helpers that work; one that other work keeps busy has not begun, and need not any more."""
    return [helper for helper in helpers if not helper.cancel()]


def in_slices(size: int, slices: int, work: Callable[[int, int], T]) -> list[T]:
    """`work(begin, end)` over `slices` even parts of `range(size)`, on all cores; results in order."""
    bounds = itertools.pairwise(size * k // slices for k in range(slices + 1))
    return in_threads(lambda part: work(*part), bounds)


@lru_cache(maxsize=1)
def _pool(_process: int) -> ThreadPoolExecutor:
    """The other threads of this process; a forked child has none of its parent's and makes its own."""
    return ThreadPoolExecutor(CORES - 1, "kobe")
