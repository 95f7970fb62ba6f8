"""A trading run in a process of its own that dies by `kill -9` at its n-th step.

A step is a moment at which another outcome could be left behind: before and after each call to the broker, before and
after each commit of the ledger, and in the middle of each append to audit.jsonl.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kobe_assets.research.strategies import STRATEGIES
from kobe_jobs.trading.session import trade_session
from kobe_resources.broker.protocol import Broker
from kobe_resources.errors import KobeError
from kobe_resources.order_ledger import OrderLedger, Write, audit_chain
from tests.support.builders import small_market as market
from tests.support.builders.replay_market import with_limit
from tests.support.drivers.forkserver import forked_after


class Doom:
    """Counts steps; kills this process at the one it is given (never at 0)."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.steps = 0

    def step(self) -> None:
        """One more step."""
        self.steps += 1
        if self.steps == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


class DoomedBroker:
    """The broker, with a step before and after every call."""

    def __init__(self, inner: Broker, doom: Doom) -> None:
        self._inner = inner
        self._doom = doom

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._doom.step()
            answer = method(*args, **kwargs)
            self._doom.step()
            return answer

        return call


class DoomedLedger(OrderLedger):
    """The ledger, with a step before and after every commit."""

    doom: Doom

    @contextlib.contextmanager
    def write(self) -> Iterator[Write]:
        """As the ledger does."""
        with super().write() as write:
            yield write
            self.doom.step()
        self.doom.step()


def run(folder: str, url: str, die_at: int, trading: dict[str, Any], result: str) -> None:
    """One trading run over `folder`; what came of it is written to `result`, unless it died.

    trading: of `make_settings`, and `limit_atr`, at which the strategy then enters.
    """
    doom = Doom(die_at)
    limit_atr = trading.pop("limit_atr", None)
    if limit_atr is not None:
        STRATEGIES["rsi2"] = with_limit(STRATEGIES["rsi2"], limit_atr)
    settings = market.make_settings(**trading)
    adapter = market.speak_to(url, settings)
    ledger = DoomedLedger(Path(folder) / "orders.sqlite", pin="ab", run_id=f"{os.getpid()}")
    ledger.doom = doom
    whole = audit_chain._write_all

    def torn(descriptor: int, data: bytes) -> None:
        whole(descriptor, data[: len(data) // 2])
        doom.step()
        whole(descriptor, data[len(data) // 2 :])

    audit_chain._write_all = torn
    rig = market.make_context(Path(folder), DoomedBroker(adapter, doom), settings, ledger=ledger)  # type: ignore[arg-type]
    try:
        details: dict[str, Any] = trade_session(rig).as_json()
    except KobeError as error:
        details = {"error": type(error).__name__, "told": str(error)}
    Path(result).write_text(json.dumps({**details, "steps": doom.steps}), encoding="utf-8")


_context = forked_after("tests.support.drivers.crash_ready")


def start(folder: Path, url: str, die_at: int = 0, name: str = "result", **trading: Any) -> Any:
    """Start a run; join the process it returns."""
    process = _context.Process(target=run, args=(str(folder), url, die_at, trading, str(folder / f"{name}.json")))
    process.start()
    return process


def outcome(folder: Path, name: str = "result") -> dict[str, Any]:
    """What a run that lived wrote."""
    details: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return details
