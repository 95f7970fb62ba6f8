"""Preflight: what must be true before a session trades, one line each, with what mends it. Sends nothing, changes nothing.

A line that cannot be answered fails: not knowing is not passing.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kobe_assets.graph.own_strategies import strategies_of
from kobe_jobs.research_run.strategies import one_of_them, why_only_simulated
from kobe_jobs.trading.bare_positions import find_unguarded
from kobe_jobs.trading.context import NEW_YORK, session_date
from kobe_jobs.trading.known_heads import MEND as ROLLBACK_MEND
from kobe_jobs.trading.known_heads import find_rollback
from kobe_jobs.trading.market_snapshot import load_evidence
from kobe_jobs.trading.next_session import has_own_time
from kobe_jobs.trading.readiness.research_gate import GATED_STAGES, missing_evidence
from kobe_jobs.trading.reconcile.compare import reconcile_account
from kobe_resources import calendar
from kobe_resources.broker.hosts import hosts_of
from kobe_resources.errors import KobeError
from kobe_resources.order_ledger import OrderState
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import open_positions
from kobe_resources.settings.load import kobe_home
from kobe_resources.settings.secrets import Secrets, key_file_is_open

if TYPE_CHECKING:
    from kobe_jobs.trading.context import Desk
    from kobe_jobs.trading.session import Rig
    from kobe_resources.broker.protocol import BrokerOrder

MAX_SKEW_S = 5.0
A_DAY_S = 86_400
MIN_DISK_BYTES = 200_000_000
CALENDAR_DAYS = 10
OWN_CLOCK = ("simulated",)
"""Stages whose broker lives in a time of its own; an embedded broker does so in every stage."""


@dataclass(frozen=True, slots=True)
class Line:
    """One check: passed or not, what was seen, and the mend where it was not good. `blocks` is False for a warning."""

    name: str
    passed: bool
    seen: str
    mend: str = ""
    blocks: bool = True


Check = Callable[[], Line]


class NotReady(KobeError):
    """A preflight check that a run insists on did not pass; nothing was sent."""


def preflight(rig: Rig, secrets: Secrets, strategy: str | None = None) -> list[Line]:
    """Every line, whatever the others say."""
    # A run begins with `check_ready`, so `session` imports this module.
    from kobe_jobs.trading.session import open_desk

    name = strategy or rig.settings.portfolio.book
    opened: list[Desk] = []

    def desk() -> Desk:
        if not opened:
            opened.append(open_desk(rig, name, alone=False))
        return opened[0]

    checks: list[tuple[str, Check]] = [
        ("strategy", lambda: _strategy(rig, name)),
        ("keys", lambda: _keys(rig, secrets)),
        ("host", lambda: _host(rig, secrets)),
        ("kill switch", lambda: _kill_switch(rig)),
        ("disk", _disk),
        ("audit chain", lambda: _audit(rig)),
        ("config pin", lambda: _pin(rig, name)),
        ("whole shares", lambda: _whole_shares(rig)),
        ("account", lambda: _account(rig)),
        ("buying power", lambda: _buying_power(rig)),
        ("clock", lambda: _clock(rig)),
        ("calendar", lambda: _calendar(rig)),
        ("market", lambda: _market(rig)),
        ("data", lambda: _data(rig, name)),
        ("open intents", lambda: _open_intents(desk())),
        ("positions", lambda: _positions(desk())),
        ("protection", lambda: _protection(desk())),
        ("sole use", lambda: _sole_use(desk())),
    ]
    return [_ask(label, check) for label, check in checks]


def check_ready(rig: Rig) -> None:
    """Raise NotReady on what must hold before a run begins and that nothing in the run itself asks."""
    checks: list[tuple[str, Check]] = [
        ("disk", _disk),
        ("audit chain", lambda: _audit(rig)),
        ("whole shares", lambda: _whole_shares(rig)),
        ("account", lambda: _account(rig)),
        ("clock", lambda: _clock(rig)),
        ("calendar", lambda: _calendar(rig)),
    ]
    failed = [line for line in (_ask(name, check) for name, check in checks) if line.blocks and not line.passed]
    if failed:
        raise NotReady("; ".join(f"{line.name}: {line.seen}" for line in failed), failed[0].mend)


def _ask(name: str, check: Check) -> Line:
    try:
        return check()
    except KobeError as error:
        return Line(name, False, error.what, error.mend or "see the error")


def _strategy(rig: Rig, name: str) -> Line:
    known = strategies_of(rig.settings)
    if name not in known:
        return Line("strategy", False, name, one_of_them(rig.settings))
    why = why_only_simulated(known[name])
    return Line("strategy", not why, f"{name}: {why}" if why else name, "trade another" if why else "")


def _keys(rig: Rig, secrets: Secrets) -> Line:
    present = _has_keys(secrets)
    if rig.stage not in GATED_STAGES:
        return Line("keys", True, "set" if present else f"none, and stage {rig.stage} needs none")
    if present and key_file_is_open():
        return Line("keys", False, "others can read the file of keys", "chmod 600 the file that KOBE_ENV_FILE names")
    mend = "" if present else "set ALPACA_API_KEY_ID and ALPACA_API_SECRET_KEY, or KOBE_ENV_FILE"
    return Line("keys", present, "set" if present else "missing", mend)


def _has_keys(secrets: Secrets) -> bool:
    return bool(secrets.alpaca_api_key_id and secrets.alpaca_api_secret_key)


def _host(rig: Rig, secrets: Secrets) -> Line:
    # Refuses a host that is not the stage's.
    hosts = hosts_of(rig.stage, rig.settings.broker)
    is_embedded = hosts is None or (rig.stage == "shadow" and not _has_keys(secrets) and not rig.settings.broker.base_url)
    return Line("host", True, f"{'the embedded broker' if is_embedded or not hosts else hosts.trading_url}, stage {rig.stage}")


def _kill_switch(rig: Rig) -> Line:
    status = rig.kill_switch.status()
    return Line("kill switch", not status.is_on, status.told, "`kobe kill off` when the reason is gone" if status.is_on else "")


def _disk() -> Line:
    home = kobe_home()
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    enough = free >= MIN_DISK_BYTES
    return Line("disk", enough, f"{free / 1e9:.1f} GB free", "" if enough else f"free space under {place}")


def _audit(rig: Rig) -> Line:
    found = rig.ledger.verify_audit()
    if not found.holds:
        return Line("audit chain", False, found.problem, "keep ledger and audit.jsonl as evidence, and look")
    rollback = find_rollback(rig.ledger)
    return Line("audit chain", not rollback, rollback or found.told, ROLLBACK_MEND if rollback else "")


def _pin(rig: Rig, strategy: str) -> Line:
    problem = missing_evidence(rig.warehouse, rig.settings, strategy)
    seen = problem or f"{rig.ledger.pin[:12]}, the folds are of these settings and bars"
    return Line("config pin", not problem, seen, "run `kobe report`" if problem else "", blocks=rig.stage in GATED_STAGES)


def _whole_shares(rig: Rig) -> Line:
    whole = rig.settings.sizing.whole_shares
    if whole or rig.stage not in GATED_STAGES:
        return Line("whole shares", True, "whole shares only" if whole else f"fractions, which stage {rig.stage} can protect")
    seen = f"sizing.whole_shares = false: {rig.stage} takes no IOC, short or stop order of a fraction, so nothing is bought"
    return Line("whole shares", False, seen, "set sizing.whole_shares = true, and run `kobe report`")


def _account(rig: Rig) -> Line:
    account = rig.broker.account()
    blocks = {
        "trading is blocked": account.trading_blocked,
        "the account is blocked": account.account_blocked,
        "suspended by the user": account.trade_suspended_by_user,
        f"status {account.status}": account.status != "ACTIVE",
    }
    found = [what for what, holds in blocks.items() if holds]
    seen = f"{account.number}: {', '.join(found) or 'active, nothing blocked'}"
    return Line("account", account.may_trade, seen, "" if account.may_trade else "mend it at the broker")


def _buying_power(rig: Rig) -> Line:
    account = rig.broker.account()
    need = rig.settings.sizing.order_notional
    enough = account.buying_power >= need and account.cash > 0
    seen = f"${account.buying_power:.2f} (cash ${account.cash:.2f}), one order needs ${need:.2f}"
    return Line("buying power", enough, seen, "" if enough else "fund the account, or lower sizing.order_notional")


def _clock(rig: Rig) -> Line:
    told = rig.broker.clock().timestamp
    skew = abs((dt.datetime.now(dt.UTC) - told).total_seconds())
    # Shadow sends nothing: a broker that is days away lives in stored bars, wherever it runs.
    if rig.stage in OWN_CLOCK or has_own_time(rig) or (skew > A_DAY_S and rig.stage == "shadow"):
        return Line("clock", True, f"the broker's own: {told.astimezone(NEW_YORK):%F %H:%M} in New York")
    mend = "" if skew <= MAX_SKEW_S else "set this machine's clock (NTP)"
    return Line("clock", skew <= MAX_SKEW_S, f"{skew:.1f} s from the broker's", mend)


def _calendar(rig: Rig) -> Line:
    today = session_date(rig.broker.clock())
    first = today - dt.timedelta(days=CALENDAR_DAYS)
    theirs = {day.session: day.close for day in rig.broker.calendar(first, today)}
    ours = {day: calendar.close_time(day) for day in calendar.sessions(first, today).tolist()}
    differing = sorted(day for day in theirs.keys() | ours.keys() if theirs.get(day) != ours.get(day))
    seen = f"differs on {differing[0]}" if differing else f"{len(ours)} sessions to {today} agree"
    # The embedded broker's sessions are those of the stored bars.
    blocks = rig.stage in GATED_STAGES
    return Line("calendar", not differing, seen, "update exchange_calendars, or wait a session" if differing else "", blocks)


def _market(rig: Rig) -> Line:
    clock = rig.broker.clock()
    seen = "open" if clock.is_open else f"shut until {clock.next_open.astimezone(NEW_YORK):%F %H:%M} in New York"
    return Line("market", clock.is_open, seen, "" if clock.is_open else "trade while it is open")


def _data(rig: Rig, strategy: str) -> Line:
    today = session_date(rig.broker.clock())
    before = [day.session for day in rig.broker.calendar(today - dt.timedelta(days=40), today) if day.session < today]
    if not before:
        return Line("data", False, f"no session precedes {today}", "choose a later session")
    evidence = rig.evidence or load_evidence(rig.warehouse, strategy, before[-1], before[-1])
    latest = evidence.latest_session(today)
    fresh = latest == before[-1] and before[-1] in evidence.computed and evidence.signals_fit_bars
    seen = f"bars and signals of {latest}, {before[-1]} is needed; {len(evidence.signals_of(before[-1]))} signals"
    return Line("data", fresh, seen, "" if fresh else "stale_signal: run `kobe report`")


def _open_intents(desk: Desk) -> Line:
    waiting = book.in_states(desk.ledger, desk.account, [OrderState.UNKNOWN, OrderState.SUBMITTING, OrderState.INTENT])
    seen = f"{len(waiting)} orders whose fate is open" if waiting else "none"
    # The run resolves them first of all: worth knowing, no reason to stay out.
    return Line("open intents", not waiting, seen, "the next run settles them: `kobe trade`" if waiting else "", blocks=False)


def _positions(desk: Desk) -> Line:
    found = reconcile_account(desk, "preflight", look_only=True)
    noted = found.snapshot["noted"]
    yours = f"; yours, not Kobe's: {', '.join(noted['positions']) or 'open orders'}" if any(noted.values()) else ""
    seen = (found.told() or f"{len(found.snapshot['ledger'])} positions agree with the broker") + yours
    mend = "`kobe reconcile` lists them; the account should be Kobe's alone"
    return Line("positions", found.agrees or not desk.sends, seen, "" if found.agrees else mend)


def _protection(desk: Desk) -> Line:
    if not desk.sends:
        return Line("protection", True, f"stage {desk.stage} holds nothing")
    told = find_unguarded(desk.ledger, desk.account, desk.broker)
    seen = "; ".join(told) or "every position has its stop, every stop its position"
    return Line("protection", not told, seen, "`kobe trade` while the market is open mends it" if told else "")


def _sole_use(desk: Desk) -> Line:
    """Orders and positions of others: their cash and shares are no difference that Kobe could explain."""
    rule = "the account should be Kobe's alone"
    ours = {held.symbol for held in open_positions(desk.ledger, desk.account)}
    open_orders = desk.broker.orders("open") if desk.sends else []
    foreign = [f"order {order.side} {order.qty} {order.symbol}" for order in open_orders if not _is_ours(desk, order)]
    foreign += [
        f"position {row.qty} {row.symbol}" for row in (desk.broker.positions() if desk.sends else []) if row.symbol not in ours
    ]
    seen = f"not Kobe's: {', '.join(foreign)}" if foreign else f"nothing else is in it; {rule}"
    # What it costs, the line `positions` and the run tell.
    return Line("sole use", not foreign, seen, f"{rule}: move the rest to another one" if foreign else "", blocks=False)


def _is_ours(desk: Desk, order: BrokerOrder) -> bool:
    intent = book.find(desk.ledger, order.client_order_id)
    return intent is not None and intent.account == desk.account
