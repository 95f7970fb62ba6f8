"""The pace of calls for bars: a budget of its own, which gives way to the calls of trading on the same account.

The two are counted in files beside each other. Alpaca allows an account 200 calls a minute: what bars do not use of them is
trading's, and while trading needs more than that, bars wait.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from kobe_resources.broker.pacing import MINUTE_S, Pace

ACCOUNT_CALLS = 200
LONGEST_WAIT_S = 600.0
"""A page of an account that is looked at all day must not hold bars up for good."""


class BarsPace(Pace):
    """The budget for bars at `path`; the counts of trading are the files calls-*.json beside it."""

    def __init__(
        self,
        calls_per_minute: int,
        path: Path,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(calls_per_minute, path, clock, sleep)
        self._folder = path.parent
        self._left_to_trading = max(0, ACCOUNT_CALLS - calls_per_minute)
        self._now, self._pause = clock, sleep

    def take(self, is_order: bool = False) -> None:
        """Wait until trading needs no more than is left to it, and then as of Pace."""
        began = self._now()
        while self._calls_of_trading() > self._left_to_trading and self._now() - began < LONGEST_WAIT_S:
            self._pause(1.0)
        super().take(is_order)

    def _calls_of_trading(self) -> int:
        """Calls of the last minute, as far as they can be read."""
        now, calls = self._now(), 0
        for path in self._folder.glob("calls-*.json"):
            # A file that is being replaced, or is none of ours, holds nobody up.
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                found = json.loads(path.read_text(encoding="utf-8"))["calls"]
                calls += sum(now - MINUTE_S < float(at) <= now + 1.0 for at in found)
        return calls


def bars_pace(calls_per_minute: int, url: str, folder: Path) -> BarsPace | None:
    """The budget that all loads on a data folder share towards the host of `url`; None where 0 asks for none."""
    if not calls_per_minute:
        return None
    return BarsPace(calls_per_minute, folder / "pace" / f"bars-{urlsplit(url).hostname or 'host'}.json")
