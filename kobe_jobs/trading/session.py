"""One trading run: reconcile, exits, stops, entries, stops, reconcile; what a killed run left half done, the next one finishes.

`trade_session` is the only way in; every stage, the replay too, goes through it. A session is done when the broker, asked last,
shows every position with its stop and no stop without its position; a run over a done session looks after that, and only that.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from kobe_jobs.research_run.strategies import BadStrategy
from kobe_jobs.trading.admission import Confirm, NotConfirmed, StaleSignal, check_strategies, claim_for_run, confirm_live
from kobe_jobs.trading.bare_positions import ask_broker_state, still_lifted, unproven
from kobe_jobs.trading.context import MarketShut, SessionContext, TradingContext, open_session
from kobe_jobs.trading.entries import entries_without_quote
from kobe_jobs.trading.executor import resolve
from kobe_jobs.trading.exits import symbols_not_left
from kobe_jobs.trading.fractions import settle_fractions
from kobe_jobs.trading.moments import RunMoment
from kobe_jobs.trading.next_session import gap_between, goes_on, keeps_stored_time, phases_of
from kobe_jobs.trading.protection import Protection, judge, tend
from kobe_jobs.trading.readiness.preflight import check_ready
from kobe_jobs.trading.readiness.research_gate import EvidenceMissing
from kobe_jobs.trading.renames import follow_renames
from kobe_jobs.trading.reporting.summary import RunSummary, summarize
from kobe_jobs.trading.roll_forward import apply_splits
from kobe_jobs.trading.run_lock import trading_lock
from kobe_jobs.trading.run_records import note_failure, note_settings, note_sources
from kobe_jobs.trading.run_steps import attempt, guard, take_steps
from kobe_jobs.trading.splits_ahead import lift_stops
from kobe_resources.broker.exchange.clock import Phase
from kobe_resources.broker.open import standing_at
from kobe_resources.broker.protocol import BrokerError
from kobe_resources.errors import KobeError, UsageError
from kobe_resources.kill_switch import KillSwitchOn
from kobe_resources.order_ledger import LedgerOrder
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import open_positions
from kobe_resources.order_ledger.sessions import (
    DONE,
    HALTED,
    BegunOtherwise,
    claim_of,
    end_session,
    last_claimed,
)
from kobe_resources.runtime.event_log import event_context, get_logger
from kobe_resources.settings.pins import canonical_json

log = get_logger("trading")


class RunBroke(KobeError):
    """A run ended on a defect of its own; the session can be resumed."""


def trade_session(
    trading: TradingContext, session: dt.date | None = None, strategy: str | None = None, confirm: Confirm | None = None
) -> RunSummary:
    """Trade one session, finish one that was left half done, or protect what a done one holds; the summary of it.

    session: which one it must be (default: the one the broker's clock stands in). A simulated clock moves there, and back
    where the run is refused.
    Raises AnotherRunTrades, ReconciliationGoesOn, NotReady, SessionTaken, BegunOtherwise, StaleSignal, EvidenceMissing,
    NotConfirmed, MarketShut, KillSwitchOn, BadStrategy, UsageError, BrokerError, RunBroke: nothing was sent after that point,
    and the next run resumes.
    """
    name = strategy or trading.settings.portfolio.book
    if session is None or not keeps_stored_time(trading):
        return _run(trading, session, name, "open", confirm)
    check_strategies(trading.settings, name)
    for phase in phases_of(trading, session, name):
        summary = _run(trading, session, name, phase, confirm)
        if summary.halted or not goes_on(trading, summary):
            break
    return summary


def _run(
    trading: TradingContext, session: dt.date | None, name: str, phase: Phase, confirm: Confirm | None
) -> RunSummary:  # fmt: skip
    """One run, at the moment of the session where the broker's clock stands, or is moved to."""
    labels = event_context(run_id=trading.ledger.run_id, stage=trading.stage)
    with trading_lock(trading.ledger) as waited, labels, contextlib.ExitStack() as unclaimed:
        trading.ledger.copy_audit()
        if session is not None:
            unclaimed.enter_context(standing_at(trading.broker, session, phase))
        if not trading.ledger.disposable:
            check_ready(trading)
        note_settings(trading)
        context = open_session(trading, name, session)
        if context.kill_switch.status().is_on:
            # One that goes on in the middle of a run lets out what this run has lifted, and nothing else.
            context.lifted_before = frozenset(row.position_id for row in still_lifted(context.ledger, context.account))
        if waited:
            context.note(waited)
        with event_context(session=context.session), _recorded_end(context):
            return _take_up(trading, context, unclaimed, confirm)


def _take_up(
    trading: TradingContext, context: SessionContext, unclaimed: contextlib.ExitStack, confirm: Confirm | None
) -> RunSummary:  # fmt: skip
    """The summary of a session that is traded, or, where it is done or no order goes out now, only looked after.

    unclaimed: what is taken back where the run is refused; left behind with the claim.
    """
    claim = claim_of(trading.ledger, context.account, context.session)
    if claim is not None and claim.state == DONE:
        return _look_after(context, f"session {context.session} was already traded ({claim.note or claim.run_id})")
    why = ""
    if claim is None and _is_missed(context):
        why = f"session {context.session} was not traded, and the market is shut"
    elif context.moment is RunMoment.SHUT:
        why = _why_shut(context)
    if why:
        return replace(_look_after(context, why), untraded=why)
    before = last_claimed(trading.ledger, context.account)
    _claim(trading, context)
    unclaimed.close()
    gap = "" if trading.ledger.disposable else gap_between(before, context.session)
    if gap:
        context.note(gap)
    return _trade(trading, context, confirm)


@contextlib.contextmanager
def _recorded_end(context: SessionContext) -> Iterator[None]:
    """Put what ends the run of the block on the chain, with what may have no stop, and copy the chain in any case.

    An error that is no KobeError is raised as RunBroke.
    """
    try:
        yield
    except KobeError as error:
        _name_bare(context, error)
        note_failure(context, error)
        raise
    except Exception as error:
        log.exception("a trading run broke off")
        reason = f"the run broke off: {type(error).__name__}: {error}"
        broke = RunBroke(reason, "`kobe trade` resumes it; the log tells where")
        _name_bare(context, broke)
        note_failure(context, broke)
        raise broke from error
    except BaseException:
        # Ctrl-C, SIGTERM, or a run that Dagster ends.
        stopped = KobeError("the run was stopped", "`kobe trade` resumes it")
        _name_bare(context, stopped)
        log.warning(str(stopped))
        sys.stderr.write(f"kobe: {stopped}\n")
        raise
    finally:
        context.ledger.copy_audit()


def _name_bare(context: SessionContext, error: KobeError) -> None:
    """Add to what ended a run the positions for which the ledger alone proves no stop, where the broker's word is not there."""
    if not context.sends or context.stops_told:
        return
    with contextlib.suppress(KobeError):
        bare = unproven(context.ledger, context.account)
        if bare:
            error.what = f"{error.what}; {', '.join(bare)} may have no stop at the broker"


def _claim(trading: TradingContext, context: SessionContext) -> None:
    """Claim the session; what is held is protected where it is refused, and the refusal names what is bare.

    Raises what `claim_for_run` raises.
    """
    try:
        claim_for_run(trading, context)
    except (StaleSignal, EvidenceMissing, BegunOtherwise, KillSwitchOn, BadStrategy, UsageError) as refused:
        # With the switch on only a stop goes out that takes the place of one which was lifted.
        lifted = still_lifted(context.ledger, context.account)
        _protect_refused(trading, context, refused, sends=bool(lifted) or not isinstance(refused, KillSwitchOn))
        raise


def _confirm(trading: TradingContext, context: SessionContext, confirm: Confirm | None) -> None:
    """Let a person confirm a live session; what was lifted for a split is set again all the same. Raises NotConfirmed."""
    try:
        confirm_live(context, confirm)
    except NotConfirmed as refused:
        if still_lifted(context.ledger, context.account):
            _protect_refused(trading, context, refused, sends=True)
        raise


def _protect_refused(trading: TradingContext, context: SessionContext, refused: KobeError, sends: bool) -> None:
    """Set the stops of what is held while a run is refused, and add to the refusal what is bare. sends: may a stop go out?"""
    if not context.sends or keeps_stored_time(trading) or not _may_hold(context):
        # An embedded broker forgets what a refused run did.
        return
    # Cancels pass the switch.
    attempt(context, "stops before splits", lift_stops)
    if not sends:
        # What filled meanwhile becomes a position, and is named.
        attempt(context, "orders", resolve)
        found = attempt(
            context, "stops", lambda _: judge(context, ask_broker_state(context.broker, context.ledger, context.account))
        )
    else:
        attempt(context, "splits", apply_splits)
        attempt(context, "orders", tend)
        found = attempt(context, "stops", guard)
    found = found or Protection(answered=False)
    refused.what = "; ".join(filter(None, (refused.what, *context.troubles, found.describe())))
    context.stops_told = found.answered


def _trade(trading: TradingContext, context: SessionContext, confirm: Confirm | None) -> RunSummary:
    _confirm(trading, context, confirm)
    note_sources(context)
    log.info("a trading run began", signals=len(context.snapshot.signals_of(context.signal_session)))
    try:
        differences = take_steps(context)
        waiting = (attempt(context, "clock", entries_without_quote) or []) if context.sends else []
        return _close(context, differences, guard(context), waiting)
    except BrokerError as error:
        with trading.ledger.write() as write:
            end_session(write, context.account, context.session, HALTED, str(error))
        raise
    except Exception as error:
        _let_resume(context, error)
        raise


def _let_resume(context: SessionContext, error: Exception) -> None:
    """End the session as halted with its reason, so that the next run can resume it."""
    with contextlib.suppress(KobeError), context.ledger.write() as write:
        end_session(write, context.account, context.session, HALTED, f"{type(error).__name__}: {error}")


def _is_missed(context: SessionContext) -> bool:
    """Whether the session closed without a run while positions are held; their stops are looked after all the same."""
    is_over = context.moment is RunMoment.AFTER_CLOSE
    return is_over and context.sends and _may_hold(context)


def _may_hold(context: SessionContext) -> bool:
    """Whether the ledger has a position, or an order that may have filled meanwhile."""
    return bool(open_positions(context.ledger, context.account) or book.unsettled(context.ledger, context.account))


def _why_shut(context: SessionContext) -> str:
    """Why no order goes out before the open; raises MarketShut where nothing is held that could be looked after."""
    if context.sends and _may_hold(context):
        return f"the market is shut until {context.hours.open:%F %H:%M} UTC"
    if context.today != context.session:
        raise MarketShut(
            f"{context.today} is no session of the exchange", f"the next opens at {context.hours.open:%F %H:%M} UTC"
        )
    context.check_may_send(is_entry=False)
    raise MarketShut("the market is shut", f"it opens at {context.hours.open:%F %H:%M} UTC")


def _look_after(context: SessionContext, why: str) -> RunSummary:
    """The summary of a session that sends no order any more, after its protection was checked again; its state stays."""
    context.note(f"{why}: only its protection was looked after")
    if context.sends:
        attempt(context, "splits", apply_splits)
        attempt(context, "fractions", settle_fractions)
        attempt(context, "renames", follow_renames)
        attempt(context, "orders", tend)
        attempt(context, "stops before splits", lift_stops)
    found = guard(context)
    with context.ledger.write() as write:
        write.audit("looked_after", account=context.account, session=context.session, **asdict(found))
    return summarize(context, (), "; ".join(filter(None, (*context.troubles, found.describe()))), found)


def _close(
    context: SessionContext, differences: tuple[dict[str, Any], ...], found: Protection, denied: list[LedgerOrder]
) -> RunSummary:
    """End the session: done, or halted with every reason; resumable, too, while entries wait for a quote."""
    # In a replay the market stands still: what has no bar today leaves at its next one, as in the simulation.
    unsold = [] if context.ledger.disposable else symbols_not_left(context)
    left = [*context.troubles, found.describe(), *(f"{symbol} shall leave and was not sold" for symbol in unsold)]
    halted = "; ".join(dict.fromkeys(filter(None, left)))
    waiting = [order.symbol for order in denied]
    if waiting:
        until = f"{context.last_entry:%H:%M} UTC"
        context.note(f"without a quote to lean on: {', '.join(waiting)}; a run until {until} looks again")
    to_come = _to_come(context)
    if to_come:
        context.note(to_come)
    summary = summarize(context, differences, halted, found)
    with context.ledger.write() as write:
        # Each order has records of its own.
        body = {key: value for key, value in summary.as_json().items() if key not in ("audit_head", "orders", "positions")}
        write.audit("summary", account=context.account, summary=canonical_json(body))
        state = HALTED if halted or waiting or to_come else DONE
        note = halted or to_come or (f"{len(waiting)} wait for a quote" if waiting else "")
        end_session(write, context.account, context.session, state, note)
    log.info("a trading run ended", halted=halted, filled=summary.filled, exits=summary.exits_filled)
    return summarize(context, differences, halted, found)


def _to_come(context: SessionContext) -> str:
    """What a later run of the session has to do; empty where nothing is left."""
    working = [i.symbol for i in book.unsettled(context.ledger, context.account) if context.is_working(i)]
    if context.moment is RunMoment.BEFORE_OPEN:
        waiting = f"{len(working)} orders wait for the open ({', '.join(working)})" if working else "nothing waits for the open"
        return f"{waiting}; a run after the open goes on"
    if not working:
        return ""
    return f"{len(working)} limit orders work until the close ({', '.join(working)}): runs until then protect what they fill"
