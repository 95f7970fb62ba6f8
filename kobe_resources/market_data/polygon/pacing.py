"""How often and how patiently the vendor is asked: a token bucket for the plan's rate, one retry policy by error class.

Thread-safe; trusts its caller only to raise the typed errors of polygon/errors.py.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from kobe_resources.market_data.over_network import RESUMES, RetryBudget
from kobe_resources.market_data.polygon.errors import (
    PolygonContradiction,
    PolygonEmpty,
    PolygonError,
    PolygonIncomplete,
    PolygonMalformed,
    PolygonRateError,
    PolygonServerError,
    PolygonTransportError,
)

T = TypeVar("T")

MARGIN = 1.01
"""The vendor counts arrivals, we count departures: a token comes back 1 % late, so that jitter breaks no limit."""


def retries_after(error: BaseException, budget: RetryBudget) -> int:
    """How often a call that failed with `error` is asked again."""
    if isinstance(error, PolygonRateError):
        return budget.after_limit(error.wait_s)
    if isinstance(error, PolygonServerError):
        return budget.after_server
    if isinstance(error, PolygonTransportError):
        return budget.after_transport
    if isinstance(error, PolygonEmpty) and not error.is_session:
        return budget.after_empty
    return budget.after_malformed if isinstance(error, (PolygonMalformed, PolygonIncomplete)) else 0


class Stopped(PolygonError):
    """The load was told to stop while a call waited for its turn."""


class TokenBucket:
    """Lets `calls_per_minute` calls through in any minute; each token comes back a minute after it was taken.

    0 switches pacing off; `pause` still holds back every thread, because a 429 concerns the key.
    A fraction works: 0.5 is one call in two minutes.
    """

    def __init__(self, calls_per_minute: float, minute_s: float = 60.0) -> None:
        self.calls_per_minute = calls_per_minute
        self.capacity = max(1, int(calls_per_minute)) if calls_per_minute > 0 else 0
        self._token_life_s = minute_s * self.capacity / calls_per_minute * MARGIN if self.capacity else 0.0
        self._taken: deque[float] = deque()
        self._paused_until = 0.0
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def take(self) -> None:
        """Wait for a token and take it. Raises Stopped."""
        while (wait_s := self._try()) > 0:
            self.sleep(wait_s)
        if self._stop.is_set():
            raise Stopped("the load was stopped", RESUMES)

    def due_s(self, calls: int) -> float:
        """Seconds until the last of `calls` more may go, if each goes as soon as it may and no pause comes."""
        with self._lock:
            now = time.monotonic()
            taken = [moment for moment in self._taken if moment + self._token_life_s > now]
        free = self.capacity - len(taken)
        if calls <= free or not self.capacity:
            return 0.0
        rounds, place = divmod(calls - free - 1, self.capacity)
        return [*taken, *[now] * free][place] + (rounds + 1) * self._token_life_s - now

    def pause(self, seconds: float) -> None:
        """Withhold every token for `seconds`."""
        with self._lock:
            self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    def stop(self) -> None:
        """Wake all waiting threads with Stopped, and give no token again."""
        self._stop.set()

    def sleep(self, seconds: float) -> None:
        """Sleep, unless stopped. Raises Stopped."""
        if self._stop.wait(seconds):
            raise Stopped("the load was stopped", RESUMES)

    def _try(self) -> float:
        """Take a token and return 0, or return how long to wait before trying again."""
        with self._lock:
            now = time.monotonic()
            if now < self._paused_until:
                return self._paused_until - now
            if not self.capacity:
                return 0.0
            while self._taken and self._taken[0] + self._token_life_s <= now:
                self._taken.popleft()
            if len(self._taken) < self.capacity:
                self._taken.append(now)
                return 0.0
            return self._taken[0] + self._token_life_s - now


class RetryPolicy:
    """Asks again by class of error: 429 after Retry-After or a minute, 5xx and transport after a growing pause."""

    def __init__(self, bucket: TokenBucket, budget: RetryBudget) -> None:
        self._bucket = bucket
        self._budget = budget
        self._backoff = wait_random_exponential(multiplier=budget.first_backoff_s, max=budget.longest_backoff_s)
        self._is_answered = False

    def __call__(self, ask: Callable[[], T]) -> T:
        """`ask()`, as often as the classes of its failures allow; then the last failure is raised."""

        def paced() -> T:
            self._bucket.take()
            try:
                found = ask()
            except PolygonTransportError:
                raise
            except PolygonError:
                self._is_answered = True
                raise
            self._is_answered = True
            return found

        return self._again(PolygonError)(paced)

    def reread(self, read: Callable[[], T]) -> T:
        """`read()`, which asks by this policy itself, again where what it was given contradicts itself."""
        return self._again(PolygonContradiction)(read)

    def _again(self, after: type[PolygonError]) -> Retrying:
        failures: Counter[type[BaseException]] = Counter()

        def spent(state: RetryCallState) -> bool:
            error = _failure(state)
            failures[type(error)] += 1
            ahead_s = (state.seconds_since_start or 0.0) + self._bucket.due_s(1)
            if not self._is_answered and ahead_s > self._budget.first_answer_s:
                return True
            return failures[type(error)] > retries_after(error, self._budget)

        return Retrying(
            retry=retry_if_exception_type(after),
            stop=spent,
            wait=self._wait_s,
            sleep=self._bucket.sleep,
            reraise=True,
        )

    def _wait_s(self, state: RetryCallState) -> float:
        error = _failure(state)
        if isinstance(error, PolygonRateError):
            wait_s = self._budget.rate_wait_s if error.wait_s is None else error.wait_s
            self._bucket.pause(min(wait_s, self._budget.longest_rate_wait_s))
            return wait_s
        # An empty answer comes of load, and load outlasts a moment: a pause of random length alone may be none.
        least_s = self._budget.first_backoff_s if isinstance(error, PolygonEmpty) else 0.0
        pause_s = least_s + self._backoff(state)
        return pause_s if self._is_answered else min(pause_s, self._budget.first_answer_s / 4)


def _failure(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome else None
    if error is None:
        raise AssertionError("a retry is only weighed after a failure")
    return error
