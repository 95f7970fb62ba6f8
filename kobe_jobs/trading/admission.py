"""What can refuse a session before its first order: stale data, missing research, a shut market, a missing confirmation.

All but the confirmation is asked before the claim is written, so that a refused session stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable

from kobe_jobs.research_run.strategies import parts_named, refuse_untradable
from kobe_jobs.trading.context import SessionContext, TradingContext
from kobe_jobs.trading.moments import RunMoment
from kobe_jobs.trading.readiness.research_gate import check_evidence
from kobe_resources.errors import KobeError
from kobe_resources.order_ledger.sessions import HALTED, claim_of, claim_session, confirm_session, end_session
from kobe_resources.settings.models import Settings

Confirm = Callable[[str], str]
"""Shows a person the phrase to type, and returns what was typed."""


class StaleSignal(KobeError):
    """The stored signals are not those of the session before."""


class NotConfirmed(KobeError):
    """The phrase that lets this session trade live was not typed."""


def claim_for_run(trading: TradingContext, context: SessionContext) -> None:
    """Claim the session, after everything that can refuse it.

    Raises KillSwitchOn, BadStrategy, UsageError, StaleSignal, EvidenceMissing, MarketShut.

    After the close a session that was begun is brought to its end: nothing new is decided, so that no stale data can refuse it.
    """
    context.kill_switch.check()
    # What is held is aged by them, and the record of a run keeps their sources.
    check_strategies(trading.settings, context.book_name)
    is_begun = claim_of(trading.ledger, context.account, context.session) is not None
    if context.moment is not RunMoment.AFTER_CLOSE or not is_begun:
        check_fresh(context)
        check_evidence(trading.warehouse, trading.settings, context.book_name, trading.stage)
        context.check_may_send(is_entry=False)
    with trading.ledger.write() as write:
        claim_session(write, context.account, context.session, context.book_name, trading.ledger.owner)


def check_strategies(settings: Settings, book_name: str) -> None:
    """Raise BadStrategy or UsageError unless every strategy of the book can be read and may trade."""
    for part in parts_named(settings, book_name):
        refuse_untradable(part.strategy)


def check_fresh(context: SessionContext) -> None:
    """Raise StaleSignal unless bars and indicators of exactly the session before are there; nothing is sent on older ones."""
    latest = context.snapshot.latest_session(context.session)
    is_fresh = latest == context.signal_session and context.signal_session in context.snapshot.computed
    if not (is_fresh and context.snapshot.signals_fit_bars):
        with context.ledger.write() as write:
            write.audit(
                "stale_signal", account=context.account, session=context.session, expected=context.signal_session, found=latest
            )
        raise StaleSignal(
            f"stale_signal: session {context.session} needs the signals of {context.signal_session}, the latest stored are of"
            f" {latest if context.snapshot.signals_fit_bars else 'other bars or indicators'}",
            "bring bars and signals up to date: `kobe report`",
        )


def confirmation_phrase(context: SessionContext) -> str:
    """What a person types to let a session trade live."""
    return f"trade live {context.session.isoformat()} {context.account.partition(':')[2]}"


def confirm_live(context: SessionContext, confirm: Confirm | None) -> None:
    """Let a person confirm a live session, once; in other stages nothing is asked. Raises NotConfirmed."""
    if context.stage != "live":
        return
    claim = claim_of(context.ledger, context.account, context.session)
    if claim is not None and claim.confirmed_by:
        return
    phrase = confirmation_phrase(context)
    typed = confirm(phrase) if confirm else ""
    if typed.strip() != phrase:
        with context.ledger.write() as write:
            end_session(write, context.account, context.session, HALTED, "not confirmed")
        raise NotConfirmed("this session was not confirmed", f"type exactly: {phrase}")
    with context.ledger.write() as write:
        confirm_session(write, context.account, context.session, typed.strip())
