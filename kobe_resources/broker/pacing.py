"""The pace of calls to a broker: one budget a minute for the account, kept in the data folder, so that processes share it.

Alpaca counts 200 calls a minute and account and refuses the rest, stops and cancels among them. Of `calls_per_minute` a part
is kept back for errands that are `urgent`: cancels, protective stops, and the looks that they need. What the broker says of
its own count (`Retry-After`, `X-RateLimit-*`) comes first. A broker on this machine is a rehearsal: until it says that it
counts, a process waits for calls of its own only.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from kobe_resources.broker.hosts import is_loopback
from kobe_resources.runtime.retry_after import number_of, retry_after_s, server_time

MINUTE_S = 60.0
KEPT_BACK = 0.2
"""The part of a minute's calls that only urgent errands may use."""
AT_ONCE = 2 / 3
"""The part of the others' calls that may go in one burst; the rest is spread over what is left of the minute."""
LONGEST_HOLD_S = 65.0
"""The broker counts by the minute: one that asks for a longer silence is asked again after this."""
REFUSALS_THAT_TELL = 4
"""One 429 without a count may be chance; so many in a row, with no answer between them, are a limit."""
LOCK_S = 2.0
EPOCH = 1e6
"""A reset below this many seconds is a time from now, not a time of day."""


@dataclass
class _Errand:
    """What the calls of a thread are for. ahead: orders that have no call reserved yet; paid: reserved calls."""

    is_urgent: bool
    ahead: int = 0
    paid: int = 0


_errand: contextvars.ContextVar[_Errand | None] = contextvars.ContextVar("errand", default=None)


@contextlib.contextmanager
def urgent(is_urgent: bool = True) -> Iterator[None]:
    """Let the calls of this block use the part of the budget that is kept back, and those of an urgent block around it too."""
    with _on(_Errand(is_urgent or _is_urgent())):
        yield


@contextlib.contextmanager
def order_ahead(is_urgent: bool) -> Iterator[None]:
    """Let the first call of this block wait for the order's call too, so that the order follows the last look at once."""
    with _on(_Errand(is_urgent or _is_urgent(), ahead=1)):
        yield


@contextlib.contextmanager
def _on(errand: _Errand) -> Iterator[None]:
    token = _errand.set(errand)
    try:
        yield
    finally:
        _errand.reset(token)


def _is_urgent() -> bool:
    errand = _errand.get()
    return errand is not None and errand.is_urgent


@dataclass
class _Count:
    """calls: when each call of the last minute went out. quiet_until: no call before; spare_until: urgent ones only.

    enforced_until: until then the broker is known to enforce its limit.
    """

    calls: list[float] = field(default_factory=list)
    quiet_until: float = 0.0
    spare_until: float = 0.0
    enforced_until: float = 0.0

    def forget(self, now: float) -> None:
        """Drop what is a minute old, and what a clock that was set back has left in the future."""
        self.calls = [at for at in self.calls if now - MINUTE_S < at <= now + 1.0]
        self.quiet_until = min(self.quiet_until, now + LONGEST_HOLD_S)
        self.spare_until = min(self.spare_until, now + LONGEST_HOLD_S)
        self.enforced_until = min(self.enforced_until, now + MINUTE_S)


class Pace:
    """The budget of one account. path: where processes share it; none: this process alone.

    clock, sleep: seconds of the wall clock, and how to let them pass. A folder that cannot be written costs the sharing only.
    waits_for_others: calls of other processes count too; else only for a minute after an answer that named a limit.
    """

    def __init__(
        self,
        calls_per_minute: int,
        path: Path | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        waits_for_others: bool = True,
    ) -> None:
        self._limit = calls_per_minute
        self._for_others = max(1, calls_per_minute - int(calls_per_minute * KEPT_BACK))
        self._path = path
        self._clock, self._sleep = clock, sleep
        self._waits_for_others = waits_for_others
        self._count = _Count()
        self._own = _Count()
        self._refusals = 0

    def take(self, is_order: bool = False) -> None:
        """Wait until a call may go out. is_order: the call that `order_ahead` has reserved already."""
        errand = _errand.get() or _Errand(is_urgent=False)
        if is_order and errand.paid:
            errand.paid -= 1
            return
        wanted = 1 + errand.ahead
        while True:
            with self._shared() as count:
                now = self._clock()
                count.forget(now)
                self._own.forget(now)
                wait = self._wait(count, now, wanted, errand.is_urgent)
                if wait <= 0:
                    count.calls += [now] * wanted
                    self._own.calls += [now] * wanted
                    errand.paid += errand.ahead
                    errand.ahead = 0
                    return
            # Another process, or an answer on its way, may change what is due.
            self._sleep(min(wait, 1.0))

    def heard(self, status: int, headers: Mapping[str, str]) -> None:
        """Apply the broker's own count, as an answer's headers give it."""
        now = self._clock()
        left, reset = number_of(headers.get("X-RateLimit-Remaining")), seconds_to_reset(headers, now)
        is_refused = status == 429
        self._refusals = self._refusals + 1 if is_refused else 0
        is_near = left is not None and reset is not None and left <= self._limit - self._for_others
        if not (is_refused or is_near or (left is not None and not self._waits_for_others)):
            return
        with self._shared() as count:
            count.forget(now)
            if left is not None or self._refusals >= REFUSALS_THAT_TELL:
                count.enforced_until = now + MINUTE_S
            until = now + min(reset or 0.0, LONGEST_HOLD_S)
            if is_refused or left == 0:
                count.quiet_until = max(count.quiet_until, until)
            elif is_near:
                count.spare_until = max(count.spare_until, until)

    def _wait(self, count: _Count, now: float, wanted: int, is_urgent: bool) -> float:
        """Seconds until `wanted` calls may go out."""
        held = max(count.quiet_until, 0.0 if is_urgent else count.spare_until) - now
        limit = max(self._limit if is_urgent else self._for_others, wanted)
        counts_all = self._waits_for_others or now < count.enforced_until
        calls = sorted(count.calls if counts_all else self._own.calls)
        used = len(calls)
        if used + wanted > limit:
            return max(held, calls[used + wanted - limit - 1] + MINUTE_S - now)
        if is_urgent or used < limit * AT_ONCE:
            return held
        # Spread, so that the last calls of a minute are not followed by a long silence.
        spacing = (calls[0] + MINUTE_S - calls[-1]) / (limit - used)
        return max(held, calls[-1] + spacing - now)

    @contextlib.contextmanager
    def _shared(self) -> Iterator[_Count]:
        """The count as all processes see it; kept where the block ends."""
        if self._path is None:
            yield self._count
            return
        lock = FileLock(self._path.with_suffix(".lock"), mode=0o600)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=LOCK_S)
        except (OSError, Timeout):
            yield self._count
            return
        try:
            self._count = _read(self._path) or self._count
            yield self._count
            _write(self._path, self._count)
        finally:
            lock.release()


def pace_of(calls_per_minute: int, url: str, folder: Path) -> Pace | None:
    """The pace that all processes on a data folder share towards the host of `url`; None where 0 asks for none."""
    if not calls_per_minute:
        return None
    parts = urlsplit(url)
    host = f"{parts.hostname or 'broker'}-{parts.port}" if parts.port else parts.hostname or "broker"
    path = folder / f"calls-{host.replace(':', '-')}.json"
    return Pace(calls_per_minute, path, waits_for_others=not is_loopback(url))


def seconds_to_reset(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds until the broker will answer again, by its headers; None where they say nothing that can be read."""
    wait = retry_after_s(headers, now)
    if wait is not None:
        return wait
    reset = number_of(headers.get("X-RateLimit-Reset"))
    if reset is None:
        return None
    if reset < EPOCH:
        return reset
    return max(0.0, reset - server_time(headers, now))


def _read(path: Path) -> _Count | None:
    """What is kept; None where nothing readable is."""
    try:
        kept: Any = json.loads(path.read_text(encoding="utf-8"))
        calls = [float(at) for at in kept["calls"]]
        return _Count(calls, *(float(kept[name]) for name in ("quiet_until", "spare_until", "enforced_until")))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _write(path: Path, count: _Count) -> None:
    """Write the count in one step, without a sync to disk, because a count is worth a minute only."""
    draft = path.with_suffix(".tmp")
    content = asdict(count)
    with contextlib.suppress(OSError):
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file)
        draft.replace(path)
