"""What trading works with: `TradingContext` for a process, `SessionContext` for one session of it, and how each is opened.

A session's context also answers what is asked again before every order. Nothing here decides a trade.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from pathlib import Path

from kobe_assets.graph.inputs import canonical_params, limits_of
from kobe_assets.research.strategies import Strategy
from kobe_assets.research.walk_forward import Part
from kobe_jobs.research_run.strategies import parts_named
from kobe_jobs.trading.market_snapshot import MarketSnapshot, load_market_snapshot
from kobe_jobs.trading.moments import RunMoment, Stand, auction_ends, stand_of, stand_on
from kobe_resources.broker.hosts import Stage
from kobe_resources.broker.open import open_broker
from kobe_resources.broker.protocol import Account, Broker, Clock, Quote, TradingDay
from kobe_resources.broker.quotes import QuoteProblem, judge_quote
from kobe_resources.calendar import NEW_YORK
from kobe_resources.errors import KobeError
from kobe_resources.kill_switch import KillSwitch
from kobe_resources.market_data.store import warehouse_of
from kobe_resources.order_ledger import LedgerOrder, OrderLedger, OrderState
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import all_positions, open_positions
from kobe_resources.order_ledger.states import ENDED
from kobe_resources.policy_gate import FIXED, Limits
from kobe_resources.settings.models import Settings
from kobe_resources.settings.pins import config_pin
from kobe_resources.settings.secrets import Secrets
from kobe_resources.warehouse.shared_connection import keep_open
from kobe_resources.warehouse.store import Warehouse

CALENDAR_DAYS = 40
CALENDAR_DAYS_AHEAD = 12
EVERY_SPREAD = 1e9
QUOTE_PATIENCE_S = 6.0
QUOTE_POLL_S = 1.0
Judge = Callable[[Quote | None, dt.datetime], QuoteProblem | None]


class MarketShut(KobeError):
    """The market is not open for this order now."""


class EntriesOver(MarketShut):
    """Too near to the close for entries; exits and protective stops may still go out."""


class AuctionOver(EntriesOver):
    """Too near to the open for orders that go into the auction."""


class NotThisSession(KobeError):
    """The broker's clock is in another session than the run's."""


@dataclass(frozen=True)
class TradingContext:
    """What a process trades with: broker and ledger belong to `stage`.

    snapshot: loaded already (a replay's); None loads it from the warehouse. broker_or_error: why there is no broker, where a
    caller that only looks may go on without one.
    """

    settings: Settings
    stage: Stage
    broker_or_error: Broker | KobeError
    ledger: OrderLedger
    warehouse: Warehouse = field(default_factory=Warehouse)
    kill_switch: KillSwitch = field(default_factory=KillSwitch)
    snapshot: MarketSnapshot | None = None

    @property
    def broker(self) -> Broker:
        """The broker; raises why it could not be opened."""
        if isinstance(self.broker_or_error, KobeError):
            raise self.broker_or_error
        return self.broker_or_error


@dataclass
class SessionContext:
    """What one session is traded with.

    book_name: the strategy, or the book of several. hours: the exchange's hours of the session that trades. signal_session:
    the session before it, next_session: the one after it, where it is known. moment: where in the session the run stands, and
    today: the date in New York then. account: 'stage:number', the key of the ledger's rows. missing: symbols of which ledger
    and broker do not hold the same; no order for them, and no stop, is touched until they do. lifted: positions whose stop
    this run took away. lifted_before: those whose stop a split took away before it, where it begins with the kill switch on.
    untradable: held symbols that the broker takes no order for, as it said in this run. stops_told: what ends the run says
    already which positions have no stop, as the broker showed them.
    booked: while the market is shut, the last day whose splits the broker's shares of a held symbol include, as it shows them.
    """

    settings: Settings
    stage: Stage
    book_name: str
    limits: Limits
    broker: Broker
    ledger: OrderLedger
    kill_switch: KillSwitch
    snapshot: MarketSnapshot
    account: str
    hours: TradingDay
    signal_session: dt.date
    next_session: dt.date | None = None
    moment: RunMoment = RunMoment.OPEN
    today: dt.date | None = None
    missing: frozenset[str] = frozenset()
    lifted: set[str] = field(default_factory=set)
    lifted_before: frozenset[str] = frozenset()
    untradable: set[str] = field(default_factory=set)
    stops_told: bool = False
    notes: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    assets_allowed: dict[tuple[str, bool], str] = field(default_factory=dict)
    booked: dict[str, dt.date] = field(default_factory=dict)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The strategies that trade, with their weights; looked up when asked for: comparing ledger and broker needs none."""
        return parts_named(self.settings, self.book_name)

    def part(self, strategy: str) -> Part:
        """The strategy of that name with its weight; a name that the book does not have reads as its only one."""
        return next((part for part in self.parts if part.strategy.name == strategy), self.parts[0])

    def params_of(self, strategy: Strategy) -> dict[str, float]:
        """The canonical parameters that a strategy trades by now."""
        return canonical_params(self.settings, strategy)

    def is_working(self, order: LedgerOrder) -> bool:
        """Whether this order rests at the broker as it should: in the auction to come, or as a limit through its session."""
        if order.purpose == book.STOP or order.session != self.session or order.state is not OrderState.ACCEPTED:
            return False
        if order.time_in_force == "opg":
            return self.moment in (RunMoment.BEFORE_OPEN, RunMoment.SHUT)
        # Beside a part that filled no stop may rest while the other part works: it is cancelled, and the part protected.
        return order.works_all_day and self.moment is not RunMoment.AFTER_CLOSE and not order.filled_qty

    @property
    def splits_through(self) -> dt.date:
        """The last day whose splits the broker's shares include: before the session, not yet its own."""
        return min(self.session, self.today or self.session)

    @property
    def session(self) -> dt.date:
        """The session that trades."""
        return self.hours.session

    @property
    def sends(self) -> bool:
        """Whether this stage sends orders."""
        return self.stage != "shadow"

    @property
    def daily_budget(self) -> Decimal | None:
        """Dollars that the session's entries may carry; None: the gate knows no such limit."""
        budget = self.settings.policy.max_daily_notional
        return None if budget is None else Decimal(repr(budget))

    @property
    def last_entry(self) -> dt.datetime:
        """When the window of entries ends."""
        return self.hours.close - dt.timedelta(minutes=self.settings.trading.last_entry_before_close_min)

    def note(self, text: str) -> None:
        """Add a note for a person to the summary."""
        if text not in self.notes:
            self.notes.append(text)

    def trouble(self, text: str) -> None:
        """Record why this run is incomplete, so that another one follows."""
        if text not in self.troubles:
            self.troubles.append(text)

    def check_order(self, order: LedgerOrder) -> None:
        """Raise what keeps this very order from being sent now, as `check_may_send`.

        A stop in the place of one that this run took away, or of those in `lifted_before`, passes always: it puts back what
        held before. Stops rest at the broker over the night, so that they may be sent while the market is shut.
        """
        if order.purpose != book.STOP:
            self.check_may_send(is_entry=order.purpose == book.ENTRY)
        elif order.position_id not in self.lifted | self.lifted_before:
            self.check_may_send(is_entry=False, is_stop=True)

    def check_may_send(self, is_entry: bool, is_stop: bool = False) -> Clock:
        """Clock and kill switch, read anew; the clock. Raises KillSwitchOn, NotThisSession, MarketShut or EntriesOver."""
        clock = self.broker.clock()
        # The clock may have kept us waiting: nothing comes between the switch and the order.
        self.kill_switch.check()
        if is_stop and self.moment is not RunMoment.OPEN:
            return clock
        today = session_date(clock)
        if self.moment is RunMoment.BEFORE_OPEN:
            self._check_before_open(clock)
            return clock
        if today != self.session:
            raise NotThisSession(f"the broker's clock stands at {today}, the run trades {self.session}", "start a new run")
        if not clock.is_open:
            raise MarketShut(
                f"the market is shut at {clock.timestamp:%H:%M:%S} UTC", f"it opens at {clock.next_open:%F %H:%M} UTC"
            )
        if is_entry and clock.timestamp >= self.last_entry:
            raise EntriesOver(f"entries end at {self.last_entry:%H:%M} UTC", "the session's signals are let go")
        return clock

    def _check_before_open(self, clock: Clock) -> None:
        """Raise AuctionOver from two minutes before the open on, and MarketShut before the evening."""
        ends = auction_ends(self.hours)
        if clock.is_open or clock.timestamp >= ends:
            raise AuctionOver(
                f"orders for the open of {self.session} are taken until {ends:%H:%M} UTC", "a run after the open goes on"
            )
        if session_date(clock) < self.signal_session:
            raise NotThisSession(f"it is {session_date(clock)}, the run trades {self.session}", "start a new run")

    def judge(self, quote: Quote | None, now: dt.datetime) -> QuoteProblem | None:
        """The first reason why `quote` cannot price an entry; None where it can."""
        trading = self.settings.trading
        if self.stage == "simulated" and (self.ledger.disposable or not self.settings.broker.base_url):
            # The spread of stored bars is the slippage of the settings, whatever that is; a broker at an address has its own.
            trading = trading.model_copy(update={"max_spread_bps": EVERY_SPREAD})
        return judge_quote(quote, now, trading)

    def judge_for_exit(self, quote: Quote | None, now: dt.datetime, any_age: bool = False) -> QuoteProblem | None:
        """As `judge`, but a wide spread is no problem for an exit; any_age: nor is an old quote."""
        changes = {"max_spread_bps": EVERY_SPREAD} | ({"max_quote_age_s": float("inf")} if any_age else {})
        return judge_quote(quote, now, self.settings.trading.model_copy(update=changes))

    def quotes(self, symbols: Iterable[str]) -> dict[str, Quote]:
        """Latest quotes; none are asked for where there are no symbols."""
        wanted = list(symbols)
        return self.broker.quotes(wanted) if wanted else {}

    def usable_quotes(self, symbols: Iterable[str], judge: Judge) -> tuple[dict[str, Quote], dt.datetime]:
        """Latest quotes, and the broker's time to judge them by; asked for again for some seconds where one is not good enough.

        In the first seconds after the open many symbols have no quote yet, or one side of it. A replay's market stands still.
        """
        wanted = list(symbols)
        patience = 0.0 if self.ledger.disposable else min(QUOTE_PATIENCE_S, self.settings.trading.resolve_timeout_s)
        found: dict[str, Quote] = {}
        for _ in polls(patience, QUOTE_POLL_S / 50, QUOTE_POLL_S):
            now = self.broker.clock().timestamp
            found = self.quotes(wanted)
            if all(judge(found.get(symbol), now) is None for symbol in wanted):
                break
        return found, now


@contextlib.contextmanager
def open_trading_context(
    settings: Settings, secrets: Secrets, leave_clock: bool = False, even_without_broker: bool = False
) -> Iterator[TradingContext]:
    """The broker of the stage and the ledger of the data folder, closed at the end.

    leave_clock: for a run that names its session, and moves a simulated clock there itself.
    even_without_broker: for a caller that only looks; `broker` then raises why it could not be opened.
    """
    stage = settings.broker.stage
    with contextlib.ExitStack() as held:
        broker: Broker | KobeError
        # A simulated broker reads what was just looked at.
        with keep_open(Warehouse().path):
            warehouse = warehouse_of(settings)
            try:
                broker = held.enter_context(contextlib.closing(open_broker(settings, secrets, stage, leave_clock)))
            except KobeError as error:
                if not even_without_broker:
                    raise
                broker = error
        yield TradingContext(settings, stage, broker, held.enter_context(open_ledger(settings)), warehouse)


def open_ledger(settings: Settings, path: Path | None = None, disposable: bool = False) -> OrderLedger:
    """The ledger with the pin of these settings on its records."""
    return OrderLedger(path, pin=config_pin(settings), run_id=uuid.uuid4().hex[:12], disposable=disposable)


def open_session(
    trading: TradingContext, strategy: str, session: dt.date | None = None, any_day: bool = False
) -> SessionContext:
    """The context of the session that a run stands in, with the market snapshot that it is decided on.

    any_day: for a caller that only looks; on a day without a session it is the last one's.
    Raises NotThisSession, MarketShut, BrokerError, UsageError.
    """
    clock = trading.broker.clock()
    today = session_date(clock)
    ahead = today + dt.timedelta(days=CALENDAR_DAYS_AHEAD)
    days = trading.broker.calendar(today - dt.timedelta(days=CALENDAR_DAYS), ahead)
    past = [day for day in days if day.session <= today]
    if any_day:
        stand = stand_on(past[-1].session, clock, days) if len(past) > 1 else None
    else:
        stand = stand_of(clock, days, sends_before_open(trading.settings, strategy))
        if stand is not None and session == today != stand.hours.session:
            stand = stand_on(today, clock, days)
    if session is not None and (stand.hours.session if stand else today) != session:
        raise NotThisSession(f"the broker's clock stands at {today}, not {session}", "only the session of today can trade")
    if stand is None:
        raise MarketShut(f"{today} is no session of the exchange", f"the next opens at {clock.next_open:%F %H:%M} UTC")
    return _context(trading, strategy, stand, today)


def _context(trading: TradingContext, strategy: str, stand: Stand, today: dt.date) -> SessionContext:
    account = account_key(trading.stage, trading.broker.account())
    # What an equity stands on: every position there was; else what is held.
    limits = limits_of(trading.settings)
    known = all_positions(trading.ledger, account) if needs_equity(limits) else open_positions(trading.ledger, account)
    # What has not ended yet may turn out to have bought something.
    filling = book.in_states(trading.ledger, account, set(OrderState) - ENDED)
    held = {position.symbol for position in known} | {order.symbol for order in filling}
    names = list(trading.settings.portfolio.strategies) if strategy == trading.settings.portfolio.book else [strategy]
    return SessionContext(
        settings=trading.settings, stage=trading.stage, book_name=strategy, limits=limits,
        broker=trading.broker, ledger=trading.ledger, kill_switch=trading.kill_switch,
        snapshot=trading.snapshot or load_market_snapshot(trading.warehouse, names, stand.before, stand.before, held),
        account=account, hours=stand.hours, signal_session=stand.before, next_session=stand.after, moment=stand.moment,
        today=today,
    )  # fmt: skip


def sends_before_open(settings: Settings, strategy: str | None = None) -> bool:
    """Whether there are orders to send before the open: auction orders, or limit orders of a book that has no others."""
    if settings.execution.entry == "opg":
        return True
    try:
        parts = parts_named(settings, strategy)
    except KobeError:
        return False
    return all(has_limit_entry(part.strategy) for part in parts)


def needs_equity(limits: Limits) -> bool:
    """Whether an answer of the gate depends on the account's equity, which is a question to the whole ledger."""
    fractions = limits.max_order_fraction, limits.max_daily_fraction, limits.max_gross_exposure
    return limits.mode != FIXED or min(fractions) < math.inf


def has_limit_entry(strategy: Strategy) -> bool:
    """Whether it enters by a limit that works through the session."""
    return strategy.limit is not None


def session_date(clock: Clock) -> dt.date:
    """The day in New York at the broker's time."""
    return clock.timestamp.astimezone(NEW_YORK).date()


def day_start(day: dt.date) -> dt.datetime:
    """Midnight in New York as the day begins."""
    return dt.datetime.combine(day, dt.time(), NEW_YORK).astimezone(dt.UTC)


def account_key(stage: Stage, account: Account) -> str:
    """The key of an account's rows in the ledger."""
    return f"{stage}:{account.number}"


def polls(timeout_s: float, first_s: float, longest_s: float, growth: float = 2.0) -> Iterator[float]:
    """Seconds left, at once and then again until the time is over: at least once, the last time 0 or less.

    first_s, longest_s: seconds between two turns, at first and at most. growth: of each pause over the one before.
    """
    deadline = time.monotonic() + timeout_s
    pause = first_s
    while True:
        left = deadline - time.monotonic()
        yield left
        if left <= 0:
            return
        time.sleep(min(pause, max(deadline - time.monotonic(), 0.0)))
        pause = min(pause * growth, longest_s)
