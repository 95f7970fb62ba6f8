"""The steps of a trading run, in their order; a step that fails costs itself and no other.

Where nothing says what the broker holds, nothing is bought or sold, and what can be protected still is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from decimal import Decimal
from typing import Any, TypeVar

from kobe_jobs.trading.bare_positions import ask_broker_state
from kobe_jobs.trading.context import SessionContext
from kobe_jobs.trading.entries import enter_signals
from kobe_jobs.trading.executor import resolve
from kobe_jobs.trading.exits import exit_flagged
from kobe_jobs.trading.fractions import settle_fractions
from kobe_jobs.trading.moments import RunMoment
from kobe_jobs.trading.paper_book import enter_on_paper, follow_bars, leave_on_paper, paper_cash
from kobe_jobs.trading.protection import Protection, ensure_stops, protect, tend
from kobe_jobs.trading.reconcile.compare import Reconciliation, reconcile
from kobe_jobs.trading.renames import follow_renames
from kobe_jobs.trading.roll_forward import (
    age_positions,
    apply_splits,
    expire,
    flag_untradable,
    name_odd_stops,
    name_without_bars,
)
from kobe_jobs.trading.splits_ahead import lift_stops, record_endings
from kobe_resources.broker.protocol import SendsNothing, Unauthorized, WrongAccount
from kobe_resources.errors import KobeError
from kobe_resources.order_ledger import LedgerBusy, LedgerUnusable, Position
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import open_positions, position
from kobe_resources.runtime.event_log import get_logger

PATIENCE = 3.0
"""How many times the wait for orders a run goes on trying for what is bare."""
T = TypeVar("T")
log = get_logger("trading")


def take_steps(context: SessionContext) -> tuple[dict[str, Any], ...]:
    """The differences that are left after all steps of a run; what keeps it from being complete is in `context.troubles`."""
    # Orders are read in shares of now; what resolution finds may itself be older than a split.
    steps: tuple[tuple[str, Callable[[SessionContext], object]], ...] = (
        ("intents", expire), ("splits", apply_splits), ("orders", resolve), ("splits", apply_splits),
        ("fractions", settle_fractions), ("renames", follow_renames), ("paper book", follow_bars), ("bars", age_positions),
    )  # fmt: skip
    held = open_positions(context.ledger, context.account)
    for name, step in steps:
        attempt(context, name, step)
    _note_stopped(context, held)
    asked = attempt(context, "missing bars", name_without_bars)
    if asked:
        context.trouble(asked)
    attempt(context, "stops on ex-dates", name_odd_stops)
    if context.sends:
        attempt(context, "assets", flag_untradable)
    before = attempt(context, "reconciliation", lambda _: _reconcile(context, "before"))
    missing = before.differing if before else attempt(context, "positions", _unlike)
    if missing is None:
        # Nothing says what the broker holds, so nothing may be sold or bought; what can be protected is.
        return ()
    context.missing = missing
    for symbol in sorted(context.missing & {held.symbol for held in open_positions(context.ledger, context.account)}):
        context.note(f"ledger and broker differ on {symbol}: it is not sold and its stop is not touched, see `kobe reconcile`")
    agrees = before is not None and before.agrees
    if before and not agrees:
        context.trouble(f"entries are halted, ledger and broker differ: {before.describe()}")
    known = book.of_session(context.ledger, context.account, context.session)
    if context.sends:
        attempt(context, "stops before splits", lift_stops)
    if context.moment is not RunMoment.AFTER_CLOSE:
        _exits(context)
    if agrees and context.moment is not RunMoment.AFTER_CLOSE:
        _entries(context)
    if before and book.of_session(context.ledger, context.account, context.session) == known:
        # Nothing went out and nothing came in: the first comparison stands.
        return tuple(asdict(row) for row in before.differences)
    if context.sends:
        protect(context, context.settings.trading.resolve_timeout_s)
    after = attempt(context, "reconciliation", lambda _: _reconcile(context, "after"))
    if after is None:
        return ()
    if agrees and not after.agrees:
        context.trouble(f"ledger and broker differ after the run: {after.describe()}")
    return tuple(asdict(row) for row in after.differences)


def _note_stopped(context: SessionContext, before: list[Position]) -> None:
    """Note the positions that their stops have sold since the last run: no run was there when they did."""
    for held in before:
        now = position(context.ledger, held.id)
        if now is not None and not now.is_open and now.exit_reason == book.STOP and now.exit_price is not None:
            context.note(f"{now.symbol} left by its stop on {now.exit_session}, at {now.exit_price:,.2f}")


def _unlike(context: SessionContext) -> frozenset[str]:
    """Symbols of which the broker does not hold what the ledger does, asked alone where a whole comparison failed."""
    there = ask_broker_state(context.broker, context.ledger, context.account)
    return frozenset(held.symbol for held in open_positions(context.ledger, context.account) if not there.holds(held))


def _exits(context: SessionContext) -> None:
    """Set missing stops, send the exits of flagged positions, and set the stops of those that did not fill."""
    if not context.sends:
        if context.moment is RunMoment.OPEN:
            attempt(context, "exits", leave_on_paper)
        return
    if open_positions(context.ledger, context.account):
        leaving = {held.id for held in open_positions(context.ledger, context.account) if held.flag}
        ensure_stops(context, leaving)
    if context.moment is not RunMoment.BEFORE_OPEN or context.settings.execution.entry == "opg":
        attempt(context, "exits", lambda _: exit_flagged(context, tend))


def _entries(context: SessionContext) -> None:
    """Send the entries, unless a position has no stop."""
    if not context.sends or _is_covered(context):
        attempt(context, "entries", _enter)


def _enter(context: SessionContext) -> None:
    cash = _cash_for_entries(context) if context.sends else paper_cash(context)
    orders = enter_signals(context, cash, tend, lambda: _is_covered(context))
    if not context.sends:
        enter_on_paper(context)
    log.info("entries are decided", intents=len(orders))


def _cash_for_entries(context: SessionContext) -> Decimal:
    """Dollars that the session's entries may carry: our cash, and what the broker lends to none of it.

    Entries that rest already hold a part of the buying power, which they have in the gate's count, too.
    """
    account = context.broker.account()
    waiting = [i for i in book.unsettled(context.ledger, context.account) if i.purpose == book.ENTRY]
    promised = sum((order.reserved for order in waiting), Decimal(0))
    return max(Decimal(0), min(account.cash, account.buying_power + promised))


def _is_covered(context: SessionContext) -> bool:
    """Whether every position has its stop; no entry is sent while one has none."""
    if not open_positions(context.ledger, context.account):
        return True
    found = protect(context, context.settings.trading.resolve_timeout_s)
    if found.answered and not found.bare:
        return True
    context.trouble(f"no entries beside a position without its stop: {found.describe()}")
    return False


def guard(context: SessionContext) -> Protection:
    """The protection of every position, as two requests at the end of a run show it; missing stops are retried for minutes."""
    if not context.sends:
        return Protection()
    found = protect(context, PATIENCE * context.settings.trading.resolve_timeout_s)
    attempt(context, "stops before splits", record_endings)
    return found


def attempt(context: SessionContext, what: str, step: Callable[[SessionContext], T]) -> T | None:
    """One step of a run; None where it failed. A question without an answer, or a defect, costs this step and no other.

    Raises Unauthorized and WrongAccount, with which nothing can go on, and what the ledger itself raises.
    """
    try:
        return step(context)
    except (Unauthorized, WrongAccount, SendsNothing, LedgerBusy, LedgerUnusable):
        raise
    except KobeError as error:
        context.trouble(str(error))
        log.warning("a step of a trading run failed", step=what, reason=str(error))
    except Exception as error:
        # A defect in one step must not leave positions without their stops.
        context.trouble(f"{what}: {type(error).__name__}: {error}")
        log.exception("a step of a trading run failed", step=what)
    return None


def _reconcile(context: SessionContext, moment: str) -> Reconciliation:
    # A shadow sends nothing, so it has nothing that the account could agree with.
    return reconcile(context, moment) if context.sends else Reconciliation((), {})
