"""Which session a run takes that names none, at a broker that has no time of its own but the stored bars'."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kobe_jobs.trading.context import account_key
from kobe_resources.order_ledger.sessions import DONE, claim_of

if TYPE_CHECKING:
    import datetime as dt

    from kobe_jobs.trading.context import TradingContext
    from kobe_resources.broker.exchange.embedded import EmbeddedBroker


def has_own_time(trading: TradingContext) -> bool:
    """Does the broker keep the time of the stored bars? It is never the time of this machine."""
    return getattr(trading.broker, "embedded", None) is not None


def next_session(trading: TradingContext) -> dt.date | None:
    """The first session that has bars and is not done, from where the embedded broker's clock stands; None where all are done.

    A session that was left half done is taken again.
    """
    embedded: EmbeddedBroker = trading.broker.embedded  # type: ignore[attr-defined]
    account = account_key(trading.stage, trading.broker.account())
    moment, bars = embedded.moment, embedded.book.market.bars
    for day in bars.days:
        is_over = (day.session, moment.phase) == (moment.session, "after")
        # The exchange's hours are known for some days after the last bar.
        if day.session < moment.session or day.session > bars.last_session or is_over:
            continue
        claim = claim_of(trading.ledger, account, day.session)
        if claim is None or claim.state != DONE:
            return day.session
    return None


def nothing_left(trading: TradingContext) -> str:
    """One line for a run that found no session to trade."""
    embedded: EmbeddedBroker = trading.broker.embedded  # type: ignore[attr-defined]
    last = embedded.book.market.bars.last_session
    return f"nothing to trade: every session that has bars was traded, the last is {last}; `kobe report` brings newer bars"
