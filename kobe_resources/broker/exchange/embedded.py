"""The embedded broker: Alpaca's HTTP API on loopback over stored bars, with its state in a folder.

It stands in for Alpaca in the stage `simulated`, in replays and in tests; the adapter cannot tell the difference.
How strict it is, is a matter of settings (strictness.py). What it always does otherwise than Alpaca: fills are not rounded to
cents, `Terms.fractional` takes fractional IOC, stop and short orders, and time moves only by `advance_to`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from kobe_resources.broker.exchange.bars import StoredBars
from kobe_resources.broker.exchange.clock import ExchangeMarket, Moment, Phase, Terms, first_moment
from kobe_resources.broker.exchange.faults import FaultScript
from kobe_resources.broker.exchange.matching import Book
from kobe_resources.broker.exchange.server import BrokerServer
from kobe_resources.broker.exchange.state import State
from kobe_resources.broker.exchange.strictness import EXACT, PROMPT, SIMULATED, STRICT, Strictness

__all__ = [
    "EXACT",
    "PROMPT",
    "SIMULATED",
    "STRICT",
    "EmbeddedBroker",
    "Moment",
    "Phase",
    "StoredBars",
    "Strictness",
    "Terms",
]


class EmbeddedBroker:
    """A broker on 127.0.0.1 over `bars`, its state in `folder`; starts listening at once, in a thread.

    A new state stands before the opening of the first session. As a context manager it closes at the end.
    """

    def __init__(
        self,
        folder: Path,
        bars: StoredBars,
        terms: Terms | None = None,
        faults: Iterable[Mapping[str, Any]] = (),
        port: int = 0,
    ) -> None:
        self.terms = terms or Terms()
        self.faults = FaultScript(self.terms.strictness)
        self.faults.add(*faults)
        market = ExchangeMarket(bars, self.terms.slip, self.faults)
        state = State(folder, self.terms.account_number, self.terms.initial_cash, first_moment(bars), self.terms.vendor)
        self.book = Book(state, market, self.terms)
        self._server = BrokerServer(self.book, self.faults, port)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="embedded-broker", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Its origin, for orders and quotes alike."""
        return self._server.url

    @property
    def moment(self) -> Moment:
        """Where its clock stands."""
        return self.book.state.moment()

    @property
    def is_fresh(self) -> bool:
        """Whether its clock stands as a new account's does: before the open of the first session that has bars."""
        return self.moment.order == first_moment(self.book.market.bars).order

    def advance_to(self, session: dt.date, phase: Phase) -> None:
        """Let time pass; see `Book.advance_to`."""
        self.book.advance_to(session, phase)

    def settle(self) -> None:
        """Carry out every planned step of orders and cancels now."""
        self.book.settle(everything=True)

    @contextlib.contextmanager
    def standing_at(self, session: dt.date, phase: Phase = "open") -> Iterator[None]:
        """Stand somewhere in `session`, at the phase unless the clock is past that; as before where the block raises.

        Nothing else may trade here meanwhile.
        """
        if self.moment.session == session and self.moment.order >= Moment(session, phase).order:
            yield
            return
        with self.book.state.kept():
            self.advance_to(session, phase)
            yield

    def requests(self) -> list[tuple[str, str]]:
        """(method, path) of every request since the start, in order."""
        return list(self._server.requests)

    def close(self) -> None:
        """Stop listening and close the state; it can be opened again."""
        self._server.stop()
        self._thread.join()
        self.book.state.close()

    def __enter__(self) -> EmbeddedBroker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
