"""Sessions at a broker whose clock stands in the stored bars: which one a run takes, and its moments in order."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from kobe_jobs.trading.context import account_key, sends_before_open
from kobe_resources import calendar
from kobe_resources.broker.exchange.clock import Moment as Clocked
from kobe_resources.broker.open import embedded_of
from kobe_resources.order_ledger.sessions import DONE, claim_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kobe_jobs.trading.context import TradingContext
    from kobe_jobs.trading.reporting.summary import RunSummary
    from kobe_resources.broker.exchange.clock import Phase
    from kobe_resources.broker.exchange.embedded import EmbeddedBroker

NAMED = 5
"""Sessions of a gap that are named; more are counted."""


def keeps_stored_time(trading: TradingContext) -> bool:
    """Whether the broker's clock stands in the stored bars; a real clock shows the time of this machine."""
    return embedded_of(trading.broker) is not None


def embedded_broker(trading: TradingContext) -> EmbeddedBroker:
    """The embedded broker of a process whose broker keeps stored time."""
    embedded = embedded_of(trading.broker)
    assert embedded is not None
    return embedded


def phases_of(trading: TradingContext, session: dt.date, book: str) -> Iterator[Phase]:
    """Where the clock is to stand for the runs of a session, in order: before the open, after it, and while limits work.

    The last, after the close, ends a session whose limit orders were not all filled; a replay closes its sessions itself.
    """
    moment = embedded_broker(trading).moment
    if sends_before_open(trading.settings, book) and moment.order <= Clocked(session, "pre_open").order:
        yield "pre_open"
    yield "open"
    yield "midday"
    if not trading.ledger.disposable:
        yield "after"


def goes_on(trading: TradingContext, summary: RunSummary) -> bool:
    """Whether the session needs another run, because orders wait for the open, or work through the day."""
    return embedded_broker(trading).moment.phase == "pre_open" or summary.working > 0


def next_session(trading: TradingContext) -> dt.date | None:
    """The first session that has bars and is not done, from where the embedded broker's clock stands; None where all are done.

    A session that was left half done is taken again.
    """
    embedded = embedded_broker(trading)
    account = account_key(trading.stage, trading.broker.account())
    moment, bars = embedded.moment, embedded.book.market.bars
    for day in bars.days:
        is_over = day.session == moment.session and moment.phase in ("after", "evening")
        # The exchange's hours are known for some days after the last bar.
        if day.session < moment.session or day.session > bars.last_session or is_over:
            continue
        claim = claim_of(trading.ledger, account, day.session)
        if claim is None or claim.state != DONE:
            return day.session
    return None


def nothing_left(trading: TradingContext) -> str:
    """One line for a run that found no session to trade."""
    last = embedded_broker(trading).book.market.bars.last_session
    return f"nothing to trade: every session that has bars was traded, the last is {last}; `kobe report` brings newer bars"


def gap_between(before: dt.date | None, session: dt.date) -> str:
    """The exchange's sessions between two that were traded one after the other, in a line; empty where there are none."""
    if before is None or session <= before:
        return ""
    missing = calendar.sessions(before + dt.timedelta(days=1), session - dt.timedelta(days=1)).tolist()
    if not missing:
        return ""
    named = ", ".join(map(str, missing[:NAMED])) + (f" and {len(missing) - NAMED} more" if len(missing) > NAMED else "")
    return f"not traded between {before} and {session}: {named}"
