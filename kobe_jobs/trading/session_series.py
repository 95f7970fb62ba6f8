"""Days in a row at a broker whose clock stands in the stored bars: session after session, none left out silently."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kobe_jobs.trading.context import account_key
from kobe_jobs.trading.next_session import embedded_broker, gap_between, keeps_stored_time, next_session, nothing_left
from kobe_jobs.trading.session import trade_session
from kobe_resources.errors import UsageError
from kobe_resources.order_ledger.sessions import last_claimed

if TYPE_CHECKING:
    import datetime as dt

    from kobe_jobs.trading.admission import Confirm
    from kobe_jobs.trading.context import TradingContext
    from kobe_jobs.trading.reporting.summary import RunSummary


def trade_through(
    trading: TradingContext,
    last: dt.date,
    first: dt.date | None = None,
    strategy: str | None = None,
    confirm: Confirm | None = None,
    done: Callable[[RunSummary, str], None] = lambda *_: None,
) -> list[RunSummary]:
    """Trade every session from the next one (or `first`) to `last`; the summaries, which end with one that is not clean.

    done: called after each session, with what lies between it and the one before: a gap that is named. Raises UsageError where
    the broker has a real clock, or its account has not begun and `first` is not named, and what `trade_session` raises.
    """
    if not keeps_stored_time(trading):
        raise UsageError(
            f"the broker of stage {trading.stage} has a real clock: only its session of today can be traded",
            "leave --through away; it is for the embedded broker (stages simulated, and shadow without keys)",
        )
    if first is None and embedded_broker(trading).is_fresh:
        raise UsageError("the account has not begun: it has no session to go on from", "name its first one: --session")
    found: list[RunSummary] = []
    before = last_claimed(trading.ledger, account_key(trading.stage, trading.broker.account()))
    session = first or next_session(trading)
    while session is not None and session <= last:
        summary = trade_session(trading, session, strategy, confirm)
        found.append(summary)
        done(summary, gap_between(before, session))
        if not summary.is_clean:
            break
        before, session = session, next_session(trading)
    return found


def nothing_through(trading: TradingContext, last: dt.date) -> str:
    """One line for a run of days that found none to trade."""
    session = next_session(trading)
    return nothing_left(trading) if session is None else f"nothing to trade through {last}: the next session is {session}"
