"""Tomorrow: the orders that the next run would send, what leaves and why, and what the gate refuses. Sends nothing.

The steps of a run, on a copy of the ledger that is thrown away, against a broker that quotes the last closes: so sizes and
refusals are the policy gate's own. What only the morning knows, the open and the broker's word on a symbol, is assumed.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, cast

from kobe_assets.graph.inputs import limits_of
from kobe_assets.report.analysis.metrics_glossary import show
from kobe_jobs.research_run.strategies import parts_named, refuse_untradable
from kobe_jobs.trading.context import SessionContext, sends_before_open
from kobe_jobs.trading.daily_budget import daily_budget
from kobe_jobs.trading.entries import entries_of, plan_entries
from kobe_jobs.trading.equity import standing_of
from kobe_jobs.trading.market_snapshot import MarketSnapshot, load_market_snapshot
from kobe_jobs.trading.moments import RunMoment
from kobe_jobs.trading.on_record import (
    A_LONG_HOLIDAY,
    OnRecord,
    account_on_record,
    copied,
    is_done,
    ledger_to_look_at,
    sessions_to_trade,
)
from kobe_jobs.trading.roll_forward import age_positions, apply_splits, expire, name_without_bars
from kobe_jobs.trading.running_costs import costs_through
from kobe_resources import calendar
from kobe_resources.broker.protocol import Asset, Broker, Clock, Quote, TradingDay
from kobe_resources.broker.quotes import stop_price
from kobe_resources.errors import KobeError
from kobe_resources.kill_switch import KillSwitch
from kobe_resources.order_ledger import LedgerOrder, OrderLedger, OrderState, Position
from kobe_resources.order_ledger.positions import leave, open_positions
from kobe_resources.runtime.event_log import get_logger
from kobe_resources.settings.models import Settings
from kobe_resources.warehouse.store import Warehouse

REASONS_TO_LEAVE = {
    "time_stop": "held long enough",
    "delisted": "no longer trades",
    "suspect": "a bar of it is doubted: `kobe bars doctor`",
}
A_SECOND = dt.timedelta(seconds=1)
log = get_logger("trading")


@dataclass(frozen=True)
class NextEntry:
    """One order that would open a position: dollars are what it may cost at most, limit and stop a share."""

    symbol: str
    strategy: str
    side: str
    shares: float
    limit: float
    stop: float | None
    dollars: float
    kind: str


@dataclass(frozen=True)
class NextExit:
    """One position that would leave, and why. price: the last close, pnl: at that price."""

    symbol: str
    strategy: str
    side: str
    shares: float
    reason: str
    price: float
    pnl: float
    bars_held: int


@dataclass(frozen=True)
class NextRefusal:
    """One signal that the gate refuses, and why."""

    symbol: str
    strategy: str
    side: str
    reason: str


@dataclass(frozen=True)
class Tomorrow:
    """What the next run would do in `session`, on the signals of `signal_session`.

    cash: before, with what the exits bring at the last close. budget: dollars that the session's entries may carry, the
    tighter of the policy's limits, None without any. budget_share: the share of the account that they are, None where a
    number of dollars is the limit. notes: what a person should know of it.
    """

    session: dt.date
    signal_session: dt.date
    stage: str
    strategy: str
    cash: float
    budget: float | None
    budget_share: float | None
    entries: tuple[NextEntry, ...]
    exits: tuple[NextExit, ...]
    refused: tuple[NextRefusal, ...]
    notes: tuple[str, ...]

    @property
    def dollars(self) -> float:
        """What the entries may cost together."""
        return math.fsum(entry.dollars for entry in self.entries)

    def as_json(self) -> dict[str, Any]:
        """Plain values; dates as text."""
        plain = asdict(self)
        for name in ("entries", "exits", "refused", "notes"):
            plain[name] = list(plain[name])
        dates = {"session": self.session.isoformat(), "signal_session": self.signal_session.isoformat()}
        return {**plain, **dates, "dollars": self.dollars}

    def lines(self) -> list[str]:
        """The same in a few lines, for a message."""
        lines = [
            f"{e.side} {_number(e.shares)} {e.symbol} at {_number(e.limit)} or better"
            + (f", stop {_number(e.stop)}" if e.stop is not None else "")
            + f", ${e.dollars:,.2f} ({e.strategy})"
            for e in self.entries
        ]
        lines += [f"{e.side} {_number(e.shares)} {e.symbol}: {in_words(e.reason)} ({show(e.pnl, 'gain')})" for e in self.exits]
        if self.refused:
            lines.append(
                f"{len(self.refused)} refused: " + ", ".join(f"{r.symbol} {in_words(r.reason)}" for r in self.refused[:8])
            )
        return [*(lines or ["nothing to send"]), *self.notes]


class ClosingQuotes:
    """Stands where a broker stood, in the first second of a session: it quotes the last closes, and lists every symbol.

    The spread is what a fill costs by the settings, so that a buy meets what the simulation would pay at an unchanged open.
    """

    def __init__(self, snapshot: MarketSnapshot, hours: TradingDay, slip: float) -> None:
        self._snapshot, self._hours, self._slip = snapshot, hours, slip
        self._closes = {signal.symbol: signal.close for day in snapshot.signals.values() for signal in day}

    def clock(self) -> Clock:
        """Just after the open."""
        return Clock(self._hours.open + A_SECOND, True, self._hours.open, self._hours.close)

    def close_of(self, symbol: str) -> float | None:
        """The last close in dollars as traded in the session; None where no bar is known."""
        bars = self._snapshot.bars.get(symbol)
        close = float(bars.close[-1]) if bars is not None and len(bars.close) else self._closes.get(symbol)
        return None if close is None else close / self._snapshot.factor(symbol, self._hours.session)

    def quotes(self, symbols: Iterable[str]) -> dict[str, Quote]:
        """A bid and an ask around each close."""
        found = {}
        for symbol in symbols:
            close = self.close_of(symbol)
            if close is not None and math.isfinite(close) and close > 0:
                bid, ask = (Decimal(repr(close * (1.0 + side * self._slip))) for side in (-1, 1))
                found[symbol] = Quote(symbol, bid, ask, self._hours.open + A_SECOND)
        return found

    def asset(self, symbol: str) -> Asset:
        """One that may be traded both ways: the broker's own word is asked in the morning."""
        return Asset(
            symbol=symbol, name="", status="active", tradable=True, shortable=True, easy_to_borrow=True, has_options=True
        )


def orders_of_tomorrow(
    settings: Settings, ledger: OrderLedger, warehouse: Warehouse, session: dt.date | None = None
) -> Tomorrow:
    """What the next run would send; `ledger` is read and not changed. session: that one instead, on the signals before it.

    Raises NothingToLookAt, and UsageError where a strategy is not registered, or is simulated only.
    """
    for part in parts_named(settings):
        refuse_untradable(part.strategy)
    found = account_on_record(settings, ledger)
    day, before = sessions_to_trade(ledger, found, warehouse)
    if session is not None:
        day, before = session, calendar.previous_session(session)
    name = settings.portfolio.book
    notes = [] if session is not None else _notes_of_past(settings, found, day, warehouse)
    with copied(ledger) as copy:
        held = {position.symbol for position in open_positions(copy, found.account)}
        snapshot = load_market_snapshot(warehouse, list(settings.portfolio.strategies), before, before, held, held_only=True)
        hours = TradingDay(day, calendar.open_time(day), calendar.close_time(day))
        # A quote that is wider than the settings allow would be refused.
        slip = min(settings.costs.slippage_bps, settings.trading.max_spread_bps / 2) / 10_000
        broker = ClosingQuotes(snapshot, hours, slip)
        context = SessionContext(
            settings=settings, stage=found.stage, book_name=name, limits=limits_of(settings),
            broker=cast(Broker, broker), ledger=copy, kill_switch=KillSwitch(), snapshot=snapshot, account=found.account,
            hours=hours, signal_session=before,
            moment=RunMoment.BEFORE_OPEN if sends_before_open(settings, name) else RunMoment.OPEN, notes=notes,
        )  # fmt: skip
        return _decide(context, broker, found)


def next_orders(settings: Settings, warehouse: Warehouse) -> dict[str, Any] | None:
    """The same as plain data with reasons in words, for the report; None where they cannot be known, which ends no report."""
    try:
        with ledger_to_look_at() as ledger:
            found = orders_of_tomorrow(settings, ledger, warehouse).as_json()
    except KobeError as error:
        log.warning("the next run's orders are not in the report", reason=str(error))
        return None
    for row in [*found["exits"], *found["refused"]]:
        row["reason"] = in_words(row["reason"])
    return found


def _decide(context: SessionContext, broker: ClosingQuotes, found: OnRecord) -> Tomorrow:
    _warn(context)
    for step in (expire, apply_splits, age_positions, name_without_bars):
        step(context)
    now = found.cash
    if found.is_counted:
        now += Decimal(repr(costs_through(context, context.ledger, context.signal_session)))
    exits, cash = [], now
    for held in open_positions(context.ledger, context.account):
        if held.flag:
            exits.append(_exit_of(held, broker))
            worth = held.signed_qty * Decimal(repr(exits[-1].price))
            cash += worth
            with context.ledger.write() as write:
                leave(write, held.id, held.qty, Decimal(repr(exits[-1].price)), context.session, held.flag)
    is_over = is_done(context.ledger, context.account, context.session)
    if is_over:
        context.note(f"session {context.session} is traded already: what comes after it shows once its bars are stored")
    elif context.snapshot.signals_fit_bars and context.signal_session in context.snapshot.computed:
        # Before the open nothing has been sold yet: exits at the same open pay for no entry.
        plan_entries(context, max(now if context.moment is RunMoment.BEFORE_OPEN else cash, Decimal(0)))
    orders = entries_of(context)
    entries = [] if is_over else [_entry_of(order) for order in orders if _would_go(order)]
    refused = [] if is_over else [_refusal_of(order) for order in orders if not _would_go(order)]
    budget, share = daily_budget(context.settings.policy, standing_of(context, context.ledger, float(cash)).equity)
    return Tomorrow(
        context.session, context.signal_session, context.stage, context.book_name, float(cash), budget, share,
        tuple(entries), tuple(exits), tuple(refused), (*context.notes, *context.troubles),
    )  # fmt: skip


def _notes_of_past(settings: Settings, found: OnRecord, day: dt.date, warehouse: Warehouse) -> list[str]:
    """What a session that is over means; nothing in the stage `simulated`, which lives in the time of the stored bars."""
    if found.stage == "simulated" or calendar.close_time(day) > dt.datetime.now(dt.UTC):
        return []
    ((last,),) = warehouse.rows("SELECT max(session) FROM daily_bars")
    if day <= last:
        following = calendar.sessions(day + dt.timedelta(days=1), day + A_LONG_HOLIDAY)[0]
        return [f"{day} is over: `kobe trade` books it on paper, then this shows {following}"] if found.is_embedded else []
    newer = {"files": "newer files bring newer bars", "sample": "the sample ends there", "synthetic": "they end there for good"}
    bring = newer.get(settings.data.vendor, "`kobe report` brings newer bars")
    return [f"the bars end on {last} and {day} is past: nothing of this would be sent; {bring}"]


def _warn(context: SessionContext) -> None:
    """Note what would keep the run from sending at all, and splits of what is held."""
    status = context.kill_switch.status()
    if status.is_on:
        context.note(f"the kill switch is on ({status.reason}): nothing would be sent")
    if not context.snapshot.signals_fit_bars or context.signal_session not in context.snapshot.computed:
        wanted = f"signals of {context.signal_session} that fit the stored bars and indicators"
        context.note(f"there are no {wanted}: run `kobe report`")
    for held in open_positions(context.ledger, context.account):
        for split in context.snapshot.splits_between(held.symbol, context.signal_session, context.session):
            ratio = f"{split.split_to:g}-for-{split.split_from:g}"
            context.note(f"{held.symbol} splits {ratio} at that open: its stop is lifted before it, and set again after it")


def _would_go(order: LedgerOrder) -> bool:
    return order.state is not OrderState.DENIED


def _entry_of(order: LedgerOrder) -> NextEntry:
    limit, distance = float(order.limit_price or 0), float(order.stop_distance or 0)
    is_long = order.side == "buy"
    quote = order.decision.get("quote")
    fill = float(quote["ask" if is_long else "bid"]) if quote else limit
    stop = float(stop_price(fill, distance, is_long)) if fill and distance else None
    return NextEntry(
        order.symbol, order.strategy, "buy" if is_long else "sell short", float(order.qty), limit, stop,
        float(order.qty) * limit, f"{order.kind} {order.time_in_force}",
    )  # fmt: skip


def _exit_of(held: Position, broker: ClosingQuotes) -> NextExit:
    price = broker.close_of(held.symbol) or float(held.entry_price)
    gain = float(held.signed_qty) * (price - float(held.entry_price))
    side = "sell" if held.side == "long" else "buy back"
    return NextExit(
        held.symbol, held.strategy, side, float(held.qty), held.flag or "", price, gain, held.bars_held
    )  # fmt: skip


def _refusal_of(order: LedgerOrder) -> NextRefusal:
    side = "buy" if order.side == "buy" else "sell short"
    return NextRefusal(order.symbol, order.strategy, side, ": ".join(filter(None, (order.reason, order.detail))))


def in_words(reason: str) -> str:
    """A reason as a person reads it."""
    return REASONS_TO_LEAVE.get(reason, reason.replace("_", " "))


def _number(shares: float) -> str:
    return f"{shares:,.4f}".rstrip("0").rstrip(".")
