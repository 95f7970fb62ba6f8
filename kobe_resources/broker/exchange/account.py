"""The embedded account against the settings: a fresh one where nothing was ever ordered, else a refusal, and the way out.

The caller of `reset_account` holds the lock of trading runs, so that nothing else uses the folder.
"""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from pathlib import Path

from kobe_resources.broker.exchange.bars import StoredBars
from kobe_resources.broker.exchange.clock import Terms, first_moment
from kobe_resources.broker.exchange.embedded import EmbeddedBroker
from kobe_resources.broker.exchange.state import State, StateUnusable
from kobe_resources.errors import UsageError

FILES = ("broker.sqlite", "broker.sqlite-wal", "broker.sqlite-shm")
CENT = 0.005


class OtherAccount(UsageError):
    """The embedded account was begun with other settings, and has traded."""


@dataclass(frozen=True)
class Reset:
    """What a reset did: the numbers before ("": it could not be read) and after, and where the old state is kept."""

    before: str
    after: str
    cash: float
    kept: Path


def follow_settings(embedded: EmbeddedBroker) -> None:
    """Let the account be the one of the broker's terms: made anew where it never had an order. Raises OtherAccount."""
    state, terms = embedded.book.state, embedded.terms
    with state.transaction():
        differs = _differences(state, terms, embedded.book.market.bars)
        if not differs:
            return
        number = state.account()["number"]
        if state.row("SELECT 1 FROM orders") is not None:
            raise OtherAccount(
                f"the embedded account {number} was begun otherwise: {'; '.join(differs)}",
                "go back to those settings, or begin a fresh account with `kobe account reset` (the old one is kept)",
            )
        state.renew(terms.account_number, terms.initial_cash, first_moment(embedded.book.market.bars), terms.vendor)


def reset_account(folder: Path, bars: StoredBars, terms: Terms) -> Reset:
    """Begin a fresh account in `folder`, under the number of `terms`; the state that was there is kept beside it."""
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%S")
    try:
        state = State(folder, terms.account_number, terms.initial_cash, first_moment(bars), terms.vendor)
    except StateUnusable:
        kept = folder / f"unreadable-{stamp}.sqlite"
        _move_away(folder, kept)
        State(folder, terms.account_number, terms.initial_cash, first_moment(bars), terms.vendor).close()
        return Reset("", terms.account_number, terms.initial_cash, kept)
    try:
        before = str(state.account()["number"])
        kept = _unused(folder / f"{before}-{stamp}.sqlite")
        state.copy_to(kept)
        state.renew(terms.account_number, terms.initial_cash, first_moment(bars), terms.vendor)
    finally:
        state.close()
    return Reset(before, terms.account_number, terms.initial_cash, kept)


def _differences(state: State, terms: Terms, bars: StoredBars) -> list[str]:
    account = state.account()
    found = []
    if abs(account["initial_cash"] - terms.initial_cash) > CENT:
        found.append(f"it began with ${account['initial_cash']:.2f}, simulation.initial_cash is {terms.initial_cash:g}")
    if (account["vendor"] or terms.vendor) != terms.vendor:
        found.append(f"its bars were those of the vendor {account['vendor']}, data.vendor is {terms.vendor}")
    if dt.date.fromisoformat(account["session"]) not in {day.session for day in bars.days}:
        found.append(f"its clock stands at {account['session']}, which is no session of the stored bars")
    return found


def _unused(path: Path) -> Path:
    return path if not path.exists() else path.with_stem(f"{path.stem}-{time.time_ns()}")


def _move_away(folder: Path, kept: Path) -> None:
    """Move an unreadable database aside with its write-ahead log, because a repair needs both."""
    for name in FILES:
        source = folder / name
        if source.exists():
            source.replace(kept.with_name(name.replace("broker.sqlite", kept.name)))
