"""Preflight: one Finding for each thing that must be true before a session trades. Sends nothing, changes nothing.

A check that cannot be answered fails, because not knowing is not passing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING

from kobe_jobs.research_run.strategies import parts_named, why_only_simulated
from kobe_jobs.trading.bare_positions import PROTECTED, find_lifted, find_unguarded, lifted_text, mend_of
from kobe_jobs.trading.context import SessionContext, TradingContext, open_session, sends_before_open, session_date
from kobe_jobs.trading.known_heads import MEND as ROLLBACK_MEND
from kobe_jobs.trading.known_heads import find_rollback
from kobe_jobs.trading.market_snapshot import load_market_snapshot
from kobe_jobs.trading.next_session import keeps_stored_time
from kobe_jobs.trading.readiness.research_gate import GATED_STAGES, missing_evidence
from kobe_jobs.trading.readiness.switching import (
    auction_finding,
    other_accounts_finding,
    quotes_finding,
    splits_finding,
    switching_finding,
)
from kobe_jobs.trading.reconcile.compare import reconcile_account
from kobe_resources import calendar
from kobe_resources.broker.hosts import hosts_of
from kobe_resources.broker.open import embedded_folder
from kobe_resources.calendar import NEW_YORK
from kobe_resources.errors import KobeError
from kobe_resources.findings import Finding
from kobe_resources.order_ledger import OrderState
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import open_positions
from kobe_resources.runtime.disk import LEAST_FREE_TO_TRADE, free_space
from kobe_resources.settings.load import kobe_home
from kobe_resources.settings.secrets import Secrets, key_file_is_open

if TYPE_CHECKING:
    from kobe_resources.broker.protocol import BrokerOrder

MAX_SKEW_S = 5.0
A_DAY_S = 86_400
CALENDAR_DAYS = 10
STORED_TIME_STAGES = ("simulated",)
"""Stages whose broker's clock stands in the stored bars; an embedded broker's does so in every stage."""


Check = Callable[[], Finding]


class NotReady(KobeError):
    """A preflight check that a run insists on did not pass; nothing was sent."""


def preflight(trading: TradingContext, secrets: Secrets, strategy: str | None = None) -> list[Finding]:
    """Every check's finding, whatever the others say."""
    name = strategy or trading.settings.portfolio.book
    opened: list[SessionContext] = []

    def session_context() -> SessionContext:
        if not opened:
            opened.append(open_session(trading, name))
        return opened[0]

    checks: list[tuple[str, Check]] = [
        ("strategy", lambda: _strategy(trading, name)),
        ("keys", lambda: _keys(trading, secrets)),
        ("host", lambda: _host(trading, secrets)),
        ("kill switch", lambda: _kill_switch(trading)),
        ("disk", _disk),
        ("audit chain", lambda: _audit(trading)),
        ("config pin", lambda: _pin(trading, name)),
        ("whole shares", lambda: _whole_shares(trading)),
        ("account", lambda: _account(trading)),
        ("buying power", lambda: _buying_power(trading)),
        ("clock", lambda: _clock(trading)),
        ("calendar", lambda: _calendar(trading)),
        ("market", lambda: _market(trading)),
        ("data", lambda: _data(trading, name)),
        ("open intents", lambda: _open_orders(session_context())),
        ("positions", lambda: _positions(session_context())),
        ("protection", lambda: _protection(session_context())),
        ("quotes", lambda: quotes_finding(session_context())),
        ("auction", lambda: auction_finding(trading)),
        ("splits", lambda: splits_finding(session_context())),
        ("switching", lambda: switching_finding(session_context())),
        ("other accounts", lambda: other_accounts_finding(trading)),
        ("sole use", lambda: _sole_use(session_context())),
    ]
    return [_ask(label, check) for label, check in checks]


def check_ready(trading: TradingContext) -> None:
    """Raise NotReady on what must hold before a run begins and that nothing in the run itself asks."""
    checks: list[tuple[str, Check]] = [
        ("disk", _disk),
        ("audit chain", lambda: _audit(trading)),
        ("whole shares", lambda: _whole_shares(trading)),
        ("account", lambda: _account(trading)),
        ("clock", lambda: _clock(trading)),
        ("calendar", lambda: _calendar(trading)),
    ]
    found = (_ask(name, check) for name, check in checks)
    failed = [finding for finding in found if finding.blocks and not finding.ok]
    if failed:
        raise NotReady("; ".join(f"{finding.name}: {finding.seen}" for finding in failed), failed[0].hint)


def _ask(name: str, check: Check) -> Finding:
    try:
        return check()
    except KobeError as error:
        return Finding(name, False, error.what, error.hint or "see the error")


def _strategy(trading: TradingContext, name: str) -> Finding:
    parts = parts_named(trading.settings, name)
    seen = ", ".join(part.strategy.name + ("" if part.weight == 1 else f" × {part.weight:g}") for part in parts)
    odd = [f"{part.strategy.name}: {why}" for part in parts if (why := why_only_simulated(part.strategy))]
    seen = "; ".join([seen if name in seen else f"{name}: {seen}", *odd])
    return Finding("strategy", not odd, seen, "trade another" if odd else "")


def _keys(trading: TradingContext, secrets: Secrets) -> Finding:
    present = secrets.has_alpaca_keys
    if trading.stage not in GATED_STAGES:
        return Finding("keys", True, "set" if present else f"none, and stage {trading.stage} needs none")
    if present and key_file_is_open():
        return Finding("keys", False, "others can read the file of keys", "chmod 600 the file that KOBE_ENV_FILE names")
    hint = "" if present else "set ALPACA_API_KEY_ID and ALPACA_API_SECRET_KEY, or KOBE_ENV_FILE"
    return Finding("keys", present, "set" if present else "missing", hint)


def _host(trading: TradingContext, secrets: Secrets) -> Finding:
    # Refuses a host that is not the stage's.
    hosts = hosts_of(trading.stage, trading.settings.broker)
    is_embedded = embedded_folder(trading.settings, secrets, trading.stage) is not None
    host = "the embedded broker" if is_embedded or hosts is None else hosts.trading_url
    return Finding("host", True, f"{host}, stage {trading.stage}")


def _kill_switch(trading: TradingContext) -> Finding:
    status = trading.kill_switch.status()
    return Finding(
        "kill switch", not status.is_on, status.description, "`kobe kill off` when the reason is gone" if status.is_on else ""
    )


def _disk() -> Finding:
    free, place = free_space(kobe_home())
    enough = free >= LEAST_FREE_TO_TRADE
    return Finding("disk", enough, f"{free / 1e9:.1f} GB free", "" if enough else f"free space under {place}")


def _audit(trading: TradingContext) -> Finding:
    found = trading.ledger.verify_audit()
    if not found.holds:
        return Finding("audit chain", False, found.problem, "keep ledger and audit.jsonl as evidence, and look")
    rollback = find_rollback(trading.ledger)
    return Finding("audit chain", not rollback, rollback or found.description, ROLLBACK_MEND if rollback else "")


def _pin(trading: TradingContext, strategy: str) -> Finding:
    problem = missing_evidence(trading.warehouse, trading.settings, strategy)
    seen = problem or f"{trading.ledger.pin[:12]}, the folds are of these settings and bars"
    return Finding(
        "config pin", not problem, seen, "run `kobe report`" if problem else "", blocks=trading.stage in GATED_STAGES
    )


def _whole_shares(trading: TradingContext) -> Finding:
    whole = trading.settings.sizing.whole_shares
    if whole or trading.stage not in GATED_STAGES:
        return Finding(
            "whole shares", True, "whole shares only" if whole else f"fractions, which stage {trading.stage} can protect"
        )
    seen = f"sizing.whole_shares = false: {trading.stage} takes no IOC, short or stop order of a fraction, so nothing is bought"
    return Finding("whole shares", False, seen, "set sizing.whole_shares = true, and run `kobe report`")


def _account(trading: TradingContext) -> Finding:
    account = trading.broker.account()
    blocks = {
        "trading is blocked": account.trading_blocked,
        "the account is blocked": account.account_blocked,
        "suspended by the user": account.trade_suspended_by_user,
        f"status {account.status}": account.status != "ACTIVE",
    }
    found = [what for what, holds in blocks.items() if holds]
    seen = f"{account.number}: {', '.join(found) or 'active, nothing blocked'}"
    return Finding("account", account.may_trade, seen, "" if account.may_trade else "mend it at the broker")


def _buying_power(trading: TradingContext) -> Finding:
    account, sizing = trading.broker.account(), trading.settings.sizing
    # About: what was made or lost since moves it, and the price of the stock rounds it down.
    begun_with = trading.settings.simulation.initial_cash
    need = sizing.order_notional if sizing.mode == "fixed" else sizing.fraction * begun_with
    enough = account.buying_power >= need and account.cash > 0
    what = "puts at risk" if sizing.mode == "risk" else "needs"
    seen = f"${account.buying_power:,.2f} (cash ${account.cash:,.2f}), one order {what} about ${need:,.2f}"
    lower = "order_notional" if sizing.mode == "fixed" else "fraction"
    return Finding("buying power", enough, seen, "" if enough else f"fund the account, or lower sizing.{lower}")


def _clock(trading: TradingContext) -> Finding:
    theirs = trading.broker.clock().timestamp
    skew = abs((dt.datetime.now(dt.UTC) - theirs).total_seconds())
    # Shadow sends nothing: a broker whose clock is days away stands in stored bars, wherever it runs.
    if trading.stage in STORED_TIME_STAGES or keeps_stored_time(trading) or (skew > A_DAY_S and trading.stage == "shadow"):
        return Finding("clock", True, f"the broker's own: {theirs.astimezone(NEW_YORK):%F %H:%M} in New York")
    hint = "" if skew <= MAX_SKEW_S else "set this machine's clock (NTP)"
    return Finding("clock", skew <= MAX_SKEW_S, f"{skew:.1f} s from the broker's", hint)


def _calendar(trading: TradingContext) -> Finding:
    today = session_date(trading.broker.clock())
    first = today - dt.timedelta(days=CALENDAR_DAYS)
    theirs = {day.session: day.close for day in trading.broker.calendar(first, today)}
    ours = {day: calendar.close_time(day) for day in calendar.sessions(first, today).tolist()}
    differing = sorted(day for day in theirs.keys() | ours.keys() if theirs.get(day) != ours.get(day))
    seen = f"differs on {differing[0]}" if differing else f"{len(ours)} sessions to {today} agree"
    # The embedded broker's sessions are those of the stored bars.
    blocks = trading.stage in GATED_STAGES
    return Finding("calendar", not differing, seen, "update exchange_calendars, or wait a session" if differing else "", blocks)


def _market(trading: TradingContext) -> Finding:
    clock = trading.broker.clock()
    if not clock.is_open and sends_before_open(trading.settings):
        opens = clock.next_open.astimezone(NEW_YORK)
        return Finding("market", True, f"shut until {opens:%F %H:%M} in New York; orders for the open go out before it")
    seen = "open" if clock.is_open else f"shut until {clock.next_open.astimezone(NEW_YORK):%F %H:%M} in New York"
    return Finding("market", clock.is_open, seen, "" if clock.is_open else "trade while it is open")


def _data(trading: TradingContext, strategy: str) -> Finding:
    today = session_date(trading.broker.clock())
    before = [day.session for day in trading.broker.calendar(today - dt.timedelta(days=40), today) if day.session < today]
    if not before:
        return Finding("data", False, f"no session precedes {today}", "choose a later session")
    names = [part.strategy.name for part in parts_named(trading.settings, strategy)]
    snapshot = trading.snapshot or load_market_snapshot(trading.warehouse, names, before[-1], before[-1])
    latest = snapshot.latest_session(today)
    fresh = latest == before[-1] and before[-1] in snapshot.computed and snapshot.signals_fit_bars
    seen = f"bars and signals of {latest}, {before[-1]} is needed; {len(snapshot.signals_of(before[-1]))} signals"
    if not snapshot.signals_fit_bars:
        seen = f"the signals of {latest} are of other bars or indicators than those stored"
    return Finding("data", fresh, seen, "" if fresh else "stale_signal: run `kobe report`")


def _open_orders(context: SessionContext) -> Finding:
    waiting = book.in_states(context.ledger, context.account, [OrderState.UNKNOWN, OrderState.SUBMITTING, OrderState.PLANNED])
    seen = f"{len(waiting)} orders whose fate is open" if waiting else "none"
    # The run resolves them first of all: worth knowing, no reason to stay out.
    return Finding(
        "open intents", not waiting, seen, "the next run settles them: `kobe trade`" if waiting else "", blocks=False
    )


def _positions(context: SessionContext) -> Finding:
    found = reconcile_account(context, "preflight", look_only=True)
    # Where there is nothing to compare, as in stage shadow, the snapshot is empty.
    noted = found.snapshot.get("noted", {})
    yours = f"; yours, not Kobe's: {', '.join(noted.get('positions', ())) or 'open orders'}" if any(noted.values()) else ""
    seen = (found.describe() or f"{len(found.snapshot.get('ledger', ()))} positions agree with the broker") + yours
    hint = "`kobe reconcile` lists them; the account should be Kobe's alone"
    return Finding("positions", found.agrees or not context.sends, seen, "" if found.agrees else hint)


def _protection(context: SessionContext) -> Finding:
    if not context.sends:
        return Finding("protection", True, f"stage {context.stage} holds nothing")
    unguarded = find_unguarded(context.ledger, context.account, context.broker)
    lifted = find_lifted(context.ledger, context.account, context.broker)
    seen = "; ".join([*(row.text for row in unguarded), *(lifted_text(*row) for row in lifted.items())]) or PROTECTED
    return Finding("protection", not unguarded, seen, mend_of(unguarded))


def _sole_use(context: SessionContext) -> Finding:
    """Orders and positions of others: their cash and shares are no difference that Kobe could explain."""
    rule = "the account should be Kobe's alone"
    ours = {held.symbol for held in open_positions(context.ledger, context.account)}
    open_orders = context.broker.orders("open") if context.sends else []
    foreign = [
        order.unread or f"order {order.side} {order.qty} {order.symbol}"
        for order in open_orders
        if not _is_ours(context, order)
    ]
    foreign += [
        f"position {row.unread or row.qty} {row.symbol}"
        for row in (context.broker.positions() if context.sends else [])
        if row.symbol not in ours
    ]
    seen = f"not Kobe's: {', '.join(foreign)}" if foreign else f"nothing else is in it; {rule}"
    # The finding `positions` reports what it costs.
    return Finding("sole use", not foreign, seen, f"{rule}: move the rest to another one" if foreign else "", blocks=False)


def _is_ours(context: SessionContext, order: BrokerOrder) -> bool:
    ours = book.find(context.ledger, order.client_order_id)
    return ours is not None and ours.account == context.account
