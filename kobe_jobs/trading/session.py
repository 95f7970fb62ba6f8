"""One trading run: reconcile, exits, stops, entries, stops, reconcile; what a killed run left half done, the next one finishes.

`trade_session` is the only way in; every stage, the replay too, goes through it. A session is done when the broker, asked last,
shows every position with its stop and no stop without its position; a run over a done session looks after that, and only that.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from filelock import BaseFileLock, FileLock, Timeout

from kobe_assets.graph.inputs import limits_of
from kobe_assets.graph.own_strategies import source_record
from kobe_jobs.research_run.strategies import refuse_untradable, refuse_what_is_only_simulated, strategy_named
from kobe_jobs.trading.bare_positions import look
from kobe_jobs.trading.context import LEASE_S, Desk, MarketShut, NotThisSession, account_key, session_date
from kobe_jobs.trading.entries import enter_signals, wait_for_quote
from kobe_jobs.trading.executor import resolve
from kobe_jobs.trading.exits import due, exit_flagged
from kobe_jobs.trading.market_snapshot import Evidence, load_evidence
from kobe_jobs.trading.protection import Protection, ensure_stops, protect, tend
from kobe_jobs.trading.readiness.preflight import check_ready
from kobe_jobs.trading.readiness.research_gate import check_evidence
from kobe_jobs.trading.reconcile.compare import Reconciliation, reconcile
from kobe_jobs.trading.reporting.summary import RunSummary, summarize
from kobe_jobs.trading.roll_forward import age_positions, apply_splits, flag_untradable, let_go, name_without_bars
from kobe_resources.broker.hosts import Stage
from kobe_resources.broker.open import standing_at
from kobe_resources.broker.protocol import (
    Broker,
    BrokerError,
    SendsNothing,
    TradingDay,
    Unauthorized,
    WrongAccount,
)
from kobe_resources.errors import KobeError
from kobe_resources.kill_switch import KillSwitch
from kobe_resources.order_ledger import Intent, LedgerBusy, LedgerUnusable, OrderLedger
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import open_positions
from kobe_resources.order_ledger.sessions import (
    DONE,
    HALTED,
    Claim,
    claim_of,
    claim_session,
    confirm_session,
    end_session,
)
from kobe_resources.runtime.atomic_files import private_file, private_folder
from kobe_resources.runtime.event_log import event_context, get_logger
from kobe_resources.runtime.source_closure import closure_hash
from kobe_resources.settings.models import Settings
from kobe_resources.settings.pins import canonical_json, config_pin
from kobe_resources.warehouse.store import Warehouse

CALENDAR_DAYS = 40
BRIEF_WAIT_S = 1.0
"""A look at the lock by another process is over by then."""
RECONCILIATION_WAIT_S = 180.0
PATIENCE = 3.0
"""How many times the wait for orders a run goes on trying for what is bare."""
T = TypeVar("T")
log = get_logger("trading")
Confirm = Callable[[str], str]
"""Shows a person the phrase to type, and returns what was typed."""


class AnotherRunTrades(KobeError):
    """Another process holds the lock of trading runs."""


class ReconciliationGoesOn(KobeError):
    """A reconciliation held the ledger for longer than a trading run waits: the session may be lost."""


class StaleSignal(KobeError):
    """The stored signals are not those of the session before."""


class RunBroke(KobeError):
    """A run ended on a defect of its own; the session can be resumed."""


class NotConfirmed(KobeError):
    """The phrase that lets this session trade live was not typed."""


@dataclass(frozen=True)
class Rig:
    """What a run is started with. evidence: loaded already (a replay's); None loads it from the warehouse."""

    settings: Settings
    stage: Stage
    broker: Broker
    ledger: OrderLedger
    warehouse: Warehouse
    kill_switch: KillSwitch
    evidence: Evidence | None = None


def open_ledger(settings: Settings, path: Path | None = None, run_id: str = "", disposable: bool = False) -> OrderLedger:
    """The ledger with the pin of these settings on its records."""
    return OrderLedger(path, pin=config_pin(settings), run_id=run_id or uuid.uuid4().hex[:12], disposable=disposable)


def trade_session(
    rig: Rig, session: dt.date | None = None, strategy: str | None = None, confirm: Confirm | None = None
) -> RunSummary:
    """Trade one session, finish one that was left half done, or protect what a done one holds; the summary of it.

    session: which one it must be (default: the one the broker's clock stands in). A simulated clock moves there, and back
    where the run is refused.
    Raises AnotherRunTrades, ReconciliationGoesOn, NotReady, SessionTaken, BegunOtherwise, StaleSignal, EvidenceMissing,
    NotConfirmed, MarketShut, KillSwitchOn, BrokerError, RunBroke: nothing was sent after that point, and the next run resumes.
    """
    refuse_what_is_only_simulated(rig.settings)
    chosen = strategy_named(rig.settings, strategy or rig.settings.portfolio.book)
    refuse_untradable(chosen)
    name = chosen.name
    context = event_context(run_id=rig.ledger.run_id, stage=rig.stage)
    with alone(rig.ledger) as waited, context, contextlib.ExitStack() as unclaimed:
        rig.ledger.copy_audit()
        if session is not None:
            unclaimed.enter_context(standing_at(rig.broker, session))
        if not rig.ledger.disposable:
            check_ready(rig)
        note_settings(rig)
        desk = open_desk(rig, name, session)
        if waited:
            desk.note(waited)
        with event_context(session=desk.day):
            try:
                claim = claim_of(rig.ledger, desk.account, desk.day)
                if claim is not None and claim.state == DONE:
                    return _look_after(desk, claim)
                _claim(rig, desk)
                unclaimed.close()
                return _trade(rig, desk, confirm)
            except KobeError as error:
                _note_failure(desk, error)
                raise
            except Exception as error:
                log.exception("a trading run broke off")
                told = f"the run broke off: {type(error).__name__}: {error}"
                broke = RunBroke(told, "`kobe trade` resumes it; the log tells where")
                _note_failure(desk, broke)
                raise broke from error
            finally:
                rig.ledger.copy_audit()


@contextlib.contextmanager
def alone(ledger: OrderLedger, reconciles: bool = False) -> Iterator[str]:
    """Hold this data folder for a trading run, or for a reconciliation; what was waited for, empty where nothing was.

    A trading run refuses another one at once, and waits for a reconciliation. The operating system frees the locks when a
    process dies. Raises AnotherRunTrades or ReconciliationGoesOn.
    """
    folder = ledger.path.parent
    private_folder(folder)
    for name in ("trading-run.lock", "trading.lock"):
        private_file(folder / name)
    with contextlib.ExitStack() as held:
        if not reconciles:
            try:
                held.enter_context(FileLock(folder / "trading-run.lock", timeout=0))
            except Timeout:
                raise _another_run(ledger) from None
        lock = FileLock(folder / "trading.lock")
        try:
            held.enter_context(lock.acquire(timeout=BRIEF_WAIT_S))
            waited = ""
        except Timeout:
            if reconciles:
                raise _another_run(ledger) from None
            waited = _wait_for_reconciliation(lock, held)
        yield waited


def _wait_for_reconciliation(lock: BaseFileLock, held: contextlib.ExitStack) -> str:
    told = f"a reconciliation holds the ledger: waiting for it, at most {RECONCILIATION_WAIT_S:g} s"
    log.warning(told)
    sys.stderr.write(told + "\n")
    try:
        held.enter_context(lock.acquire(timeout=RECONCILIATION_WAIT_S))
    except Timeout:
        raise ReconciliationGoesOn(
            f"a reconciliation has held the ledger for {RECONCILIATION_WAIT_S:g} s",
            "see whether `kobe reconcile` or its job hangs, stop it, and trade again",
        ) from None
    return "the run waited for a reconciliation that held the ledger"


def _another_run(ledger: OrderLedger) -> AnotherRunTrades:
    rows = ledger.rows("SELECT owner, session FROM session_claims WHERE state = 'running' ORDER BY started_at DESC LIMIT 1")
    who = f" ({rows[0]['owner']}, session {rows[0]['session']})" if rows else ""
    return AnotherRunTrades(f"another run is trading{who}", "wait until it is done")


def open_desk(rig: Rig, strategy: str, session: dt.date | None = None, alone: bool = True, any_day: bool = False) -> Desk:
    """Look at clock, calendar and account, and lay out what a run needs. Raises NotThisSession, MarketShut, BrokerError,
    UsageError.

    any_day: for looking only; on a day without a session it is laid out for the last one.
    """
    clock = rig.broker.clock()
    today = session_date(clock)
    if session is not None and session != today:
        raise NotThisSession(f"the broker's clock stands at {today}, not {session}", "only the session of today can trade")
    days = rig.broker.calendar(today - dt.timedelta(days=CALENDAR_DAYS), today)
    if len(days) < 2 or (days[-1].session != today and not any_day):
        raise MarketShut(f"{today} is no session of the exchange", f"the next opens at {clock.next_open:%F %H:%M} UTC")
    return _desk(rig, strategy, days[-1], days[-2].session, account_key(rig.stage, rig.broker.account()), alone)


def _desk(rig: Rig, strategy: str, day: TradingDay, signal_session: dt.date, account: str, alone: bool) -> Desk:
    held = {position.symbol for position in open_positions(rig.ledger, account)}
    evidence = rig.evidence or load_evidence(rig.warehouse, strategy, signal_session, signal_session, held)
    return Desk(
        settings=rig.settings, stage=rig.stage, strategy_name=strategy,
        limits=limits_of(rig.settings), broker=rig.broker, ledger=rig.ledger, kill_switch=rig.kill_switch,
        evidence=evidence, account=account, session=day, signal_session=signal_session, alone=alone,
    )  # fmt: skip


def note_settings(rig: Rig) -> None:
    """Put a change of settings on the chain, with what they are now; they hold no secrets."""
    rows = rig.ledger.rows("SELECT body FROM audit WHERE kind = 'settings' ORDER BY seq DESC LIMIT 1")
    told = {"pin": rig.ledger.pin, "settings": rig.settings.model_dump(mode="json", exclude={"trading": {"alert_webhook"}})}
    if rows and f'"pin":"{rig.ledger.pin}"' in rows[0]["body"]:
        return
    with rig.ledger.write() as write:
        write.audit("settings", **told)


def _note_failure(desk: Desk, error: KobeError) -> None:
    """Put on the chain why a run was refused or broke off; a ledger that cannot take it must not hide the reason."""
    with contextlib.suppress(KobeError), desk.ledger.write() as write:
        write.audit("run_failed", account=desk.account, session=desk.day, error=type(error).__name__, reason=str(error))


def _note_evidence(desk: Desk) -> None:
    """Put on the chain which data and which code this run stands on: tables change, the record does not."""
    with desk.ledger.write() as write:
        write.audit(
            "evidence", account=desk.account, session=desk.day, signal_session=desk.signal_session,
            signals=len(desk.evidence.signals_of(desk.signal_session)), versions=desk.evidence.versions, code=code_version(),
            source=source_record(desk.settings, desk.strategy_name),
        )  # fmt: skip


@cache
def code_version() -> str:
    """A hash of every source that a run stands on: what decides, sends and records orders, and what the signals come from."""
    return closure_hash("kobe_jobs.trading.session", "kobe_jobs.trading.context_open")[:12]


def confirmation_phrase(desk: Desk) -> str:
    """What a person types to let a session trade live."""
    return f"trade live {desk.day.isoformat()} {desk.account.partition(':')[2]}"


def _claim(rig: Rig, desk: Desk) -> None:
    """Everything that can refuse the session, then the claim on it."""
    desk.kill_switch.check()
    check_fresh(desk)
    check_evidence(rig.warehouse, rig.settings, desk.strategy.name, rig.stage)
    desk.check_may_send(is_entry=False)
    with rig.ledger.write() as write:
        claim_session(write, desk.account, desk.day, desk.strategy.name, rig.ledger.owner, LEASE_S, alone=desk.alone)


def _trade(rig: Rig, desk: Desk, confirm: Confirm | None) -> RunSummary:
    _confirm(desk, confirm)
    _note_evidence(desk)
    log.info("a trading run began", signals=len(desk.evidence.signals_of(desk.signal_session)))
    try:
        differences = _steps(desk)
        waiting = (_attempt(desk, "clock", wait_for_quote) or []) if desk.sends else []
        return _close(desk, differences, _guard(desk), waiting)
    except BrokerError as error:
        with rig.ledger.write() as write:
            end_session(write, desk.account, desk.day, HALTED, str(error))
        raise
    except Exception as error:
        _let_resume(desk, error)
        raise


def _let_resume(desk: Desk, error: Exception) -> None:
    """Let go of the session, so that nothing but the reason stands in the way of the next run."""
    with contextlib.suppress(KobeError), desk.ledger.write() as write:
        end_session(write, desk.account, desk.day, HALTED, f"{type(error).__name__}: {error}")


def _look_after(desk: Desk, claim: Claim) -> RunSummary:
    """A session that is done: protect what the broker holds, and nothing else; it stays done, whatever comes of that."""
    desk.note(f"session {desk.day} was already traded ({claim.note or claim.run_id}): only its protection was looked after")
    if desk.sends:
        _attempt(desk, "splits", apply_splits)
        _attempt(desk, "orders", tend)
    found = _guard(desk)
    with desk.ledger.write() as write:
        write.audit("looked_after", account=desk.account, session=desk.day, **asdict(found))
    return summarize(desk, (), "; ".join(filter(None, (*desk.troubles, found.told()))), found)


def check_fresh(desk: Desk) -> None:
    """Raise StaleSignal unless bars and indicators of exactly the session before are there; nothing is sent on older ones."""
    latest = desk.evidence.latest_session(desk.day)
    is_fresh = latest == desk.signal_session and desk.signal_session in desk.evidence.computed
    if not (is_fresh and desk.evidence.signals_fit_bars):
        with desk.ledger.write() as write:
            write.audit("stale_signal", account=desk.account, session=desk.day, expected=desk.signal_session, found=latest)
        raise StaleSignal(
            f"stale_signal: session {desk.day} needs the signals of {desk.signal_session}, the latest stored are of"
            f" {latest if desk.evidence.signals_fit_bars else 'other bars'}",
            "bring bars and signals up to date: `kobe report`",
        )


def _steps(desk: Desk) -> tuple[dict[str, Any], ...]:
    """The run proper; the differences that are left. What keeps it from being complete is in `desk.troubles`."""
    # Orders are read in shares of now; what resolution finds may itself be older than a split.
    steps: tuple[tuple[str, Callable[[Desk], object]], ...] = (
        ("intents", let_go), ("splits", apply_splits), ("orders", resolve), ("splits", apply_splits), ("bars", age_positions),
    )  # fmt: skip
    for name, step in steps:
        _attempt(desk, name, step)
    asked = _attempt(desk, "missing bars", name_without_bars)
    if asked:
        desk.trouble(asked)
    if desk.sends:
        _attempt(desk, "assets", flag_untradable)
    before = _attempt(desk, "reconciliation", lambda _: _reconcile(desk, "before"))
    missing = before.differing if before else _attempt(desk, "positions", _unlike)
    if missing is None:
        # Nothing says what the broker holds, so nothing may be sold or bought; what can be protected is.
        return ()
    desk.missing = missing
    for symbol in sorted(desk.missing):
        desk.note(f"ledger and broker differ on {symbol}: it is not sold and its stop is not touched, see `kobe reconcile`")
    agrees = before is not None and before.agrees
    if before and not agrees:
        desk.trouble(f"entries are halted, ledger and broker differ: {before.told()}")
    known = book.of_session(desk.ledger, desk.account, desk.day)
    _exits(desk)
    if agrees:
        _entries(desk)
    if before and book.of_session(desk.ledger, desk.account, desk.day) == known:
        # Nothing went out and nothing came in: the first comparison stands.
        return tuple(asdict(row) for row in before.differences)
    if desk.sends:
        protect(desk, desk.settings.trading.resolve_timeout_s)
    after = _attempt(desk, "reconciliation", lambda _: _reconcile(desk, "after"))
    if after is None:
        return ()
    if agrees and not after.agrees:
        desk.trouble(f"ledger and broker differ after the run: {after.told()}")
    return tuple(asdict(row) for row in after.differences)


def _unlike(desk: Desk) -> frozenset[str]:
    """Symbols of which the broker does not hold what the ledger does, asked alone where a whole comparison failed."""
    there = look(desk.broker, desk.ledger, desk.account)
    return frozenset(held.symbol for held in open_positions(desk.ledger, desk.account) if not there.holds(held))


def _exits(desk: Desk) -> None:
    """Protect what stays, sell what shall leave, protect what could not."""
    if desk.sends and open_positions(desk.ledger, desk.account):
        leaving = {held.id for held in open_positions(desk.ledger, desk.account) if held.flag}
        ensure_stops(desk, leaving)
    _attempt(desk, "exits", lambda _: exit_flagged(desk, tend))


def _entries(desk: Desk) -> None:
    """Enter, where nothing is bare."""
    if not desk.sends or _is_covered(desk):
        _attempt(desk, "entries", _enter)


def _enter(desk: Desk) -> None:
    intents = enter_signals(desk, desk.broker.account().spendable, tend, lambda: _is_covered(desk))
    log.info("entries are decided", intents=len(intents))


def _is_covered(desk: Desk) -> bool:
    """Does every position have its stop? No entry goes out beside one that has none."""
    if not open_positions(desk.ledger, desk.account):
        return True
    found = protect(desk, desk.settings.trading.resolve_timeout_s)
    if found.answered and not found.bare:
        return True
    desk.trouble(f"no entries beside a position without its stop: {found.told()}")
    return False


def _guard(desk: Desk) -> Protection:
    """The last word of a run: two questions to the broker, after which nothing is sent. Something bare is tried for minutes."""
    if not desk.sends:
        return Protection()
    return protect(desk, PATIENCE * desk.settings.trading.resolve_timeout_s)


def _attempt(desk: Desk, what: str, step: Callable[[Desk], T]) -> T | None:
    """One step of a run; None where it failed. A question without an answer, or a defect, costs this step and no other.

    Raises Unauthorized and WrongAccount, with which nothing can go on, and what the ledger itself raises.
    """
    try:
        return step(desk)
    except (Unauthorized, WrongAccount, SendsNothing, LedgerBusy, LedgerUnusable):
        raise
    except KobeError as error:
        desk.trouble(str(error))
        log.warning("a step of a trading run failed", step=what, reason=str(error))
    except Exception as error:
        # A defect in one step must not leave positions without their stops.
        desk.trouble(f"{what}: {type(error).__name__}: {error}")
        log.exception("a step of a trading run failed", step=what)
    return None


def _reconcile(desk: Desk, moment: str) -> Reconciliation:
    # A shadow sends nothing, so it has nothing that the account could agree with.
    return reconcile(desk, moment) if desk.sends else Reconciliation((), {})


def _confirm(desk: Desk, confirm: Confirm | None) -> None:
    if desk.stage != "live":
        return
    claim = claim_of(desk.ledger, desk.account, desk.day)
    if claim is not None and claim.confirmed_by:
        return
    phrase = confirmation_phrase(desk)
    typed = confirm(phrase) if confirm else ""
    if typed.strip() != phrase:
        with desk.ledger.write() as write:
            end_session(write, desk.account, desk.day, HALTED, "not confirmed")
        raise NotConfirmed("nobody confirmed this session", f"type exactly: {phrase}")
    with desk.ledger.write() as write:
        confirm_session(write, desk.account, desk.day, typed.strip())


def _close(desk: Desk, differences: tuple[dict[str, Any], ...], found: Protection, vetoed: list[Intent]) -> RunSummary:
    """End the session: done, or halted with every reason; resumable, too, while entries wait for a quote."""
    # In a replay the market stands still: what has no bar today leaves at its next one, as in the simulation.
    unsold = [] if desk.ledger.disposable else due(desk)
    left = [*desk.troubles, found.told(), *(f"{symbol} shall leave and was not sold" for symbol in unsold)]
    halted = "; ".join(dict.fromkeys(filter(None, left)))
    waiting = [intent.symbol for intent in vetoed]
    if waiting:
        until = f"{desk.last_entry:%H:%M} UTC"
        desk.note(f"without a quote to lean on: {', '.join(waiting)}; a run until {until} looks again")
    summary = summarize(desk, differences, halted, found)
    with desk.ledger.write() as write:
        # Each order has records of its own.
        body = {key: value for key, value in summary.as_json().items() if key not in ("audit_head", "orders")}
        write.audit("summary", account=desk.account, summary=canonical_json(body))
        state = HALTED if halted or waiting else DONE
        end_session(write, desk.account, desk.day, state, halted or (f"{len(waiting)} wait for a quote" if waiting else ""))
    log.info("a trading run ended", halted=halted, filled=summary.filled, exits=summary.exits_filled)
    return summarize(desk, differences, halted, found)
