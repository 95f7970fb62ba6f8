"""The account as one can see it: equity, positions, working orders, budget, fills; from ledger and bars, without a broker.

Worth is marked at the last close that the account has lived through. Everything is the ledger's own book: money of others in
the same account is left out, and dividends, fees and borrowing are those of the rules, as in the gate's equity.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kobe_assets.graph.inputs import canonical_params, load_market
from kobe_assets.research.simulation import EXIT_PRICE, EXIT_REASONS, SHARES, T_REASON, T_SIDE, Outcome
from kobe_assets.research.walk_forward import simulate_book
from kobe_jobs.research_run.strategies import BadStrategy, parts_named, readable_strategies
from kobe_jobs.trading.bare_positions import ending_text, lifted_text, still_lifted
from kobe_jobs.trading.daily_budget import daily_budget
from kobe_jobs.trading.market_snapshot import MarketSnapshot, load_market_snapshot
from kobe_jobs.trading.on_record import OnRecord, account_on_record, sessions_to_trade
from kobe_jobs.trading.parity.compare import Trade
from kobe_jobs.trading.parity.trades import ledger_trade
from kobe_jobs.trading.readiness.switching import held_elsewhere, switched
from kobe_jobs.trading.roll_forward import rules_of
from kobe_jobs.trading.running_costs import moved_by_costs
from kobe_jobs.trading.tomorrow import Tomorrow, in_words, orders_of_tomorrow
from kobe_resources.broker.open import billing_of
from kobe_resources.errors import UsageError
from kobe_resources.kill_switch import KillStatus, KillSwitch
from kobe_resources.order_ledger import LedgerOrder, OrderLedger, OrderState, Position
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import all_positions
from kobe_resources.order_ledger.sessions import last_claimed, last_reconciliation
from kobe_resources.order_ledger.states import UNSETTLED
from kobe_resources.runtime.sql_files import read_sql
from kobe_resources.settings.models import Settings
from kobe_resources.warehouse.store import Warehouse

HERE = Path(__file__).parent
FILLS_SHOWN = 50
BPS = 1e4


@dataclass(frozen=True)
class Holding:
    """One open position; prices as traded now. next_exit: when it leaves at the latest, or that it leaves tomorrow and why.

    close: the last one that it has lived through; its entry where it was bought since.
    """

    symbol: str
    strategy: str
    side: str
    shares: float
    entry_session: str
    entry: float
    stop: float
    close: float
    worth: float
    pnl: float
    pnl_share: float
    bars_held: int
    next_exit: str


@dataclass(frozen=True)
class WorkingOrder:
    """One order that the broker may hold."""

    symbol: str
    side: str
    purpose: str
    kind: str
    shares: float
    price: float | None
    state: str
    session: str


@dataclass(frozen=True)
class FillRow:
    """One fill; reference is what it is measured against: the session's open, of a stop its level.

    slippage_bps: what the fill cost against it, positive where it was dearer.
    """

    session: str
    symbol: str
    side: str
    purpose: str
    shares: float
    price: float
    reference: float | None
    slippage_bps: float | None


@dataclass(frozen=True)
class AccountView:
    """Everything that the account page shows; `curve` holds sessions with the equity at their closes.

    budget: dollars that the last session's entries could carry, the next one's before any; budget_share: the share of the
    account that they are, None where a number of dollars is the limit.
    notes: what goes on from other settings or another stage, and stops that a split has lifted.
    """

    stage: str
    number: str
    strategy: str
    as_of: str
    started: str | None
    start_cash: float
    equity: float
    cash: float
    pnl: float
    pnl_today: float
    unrealised: float
    sessions: tuple[str, ...]
    curve: tuple[float, ...]
    positions: tuple[Holding, ...]
    working: tuple[WorkingOrder, ...]
    last_session: str | None
    budget: float | None
    budget_share: float | None
    budget_used: float
    refused: dict[str, int]
    fills: tuple[FillRow, ...]
    orders_by_state: dict[str, int]
    kill_switch: dict[str, Any]
    reconciliation: dict[str, Any] | None
    tomorrow: dict[str, Any] | None
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def look_at_account(settings: Settings, ledger: OrderLedger, warehouse: Warehouse, with_tomorrow: bool = True) -> AccountView:
    """The account of the settings' stage; with_tomorrow: with what the next run would send, which takes longer.

    Raises NothingToLookAt where there are no bars.
    """
    found = account_on_record(settings, ledger)
    trades, as_of = sessions_to_trade(ledger, found, warehouse)
    every = all_positions(ledger, found.account)
    snapshot = load_market_snapshot(
        warehouse, list(settings.portfolio.strategies), as_of, as_of, {held.symbol for held in every}
    )
    tomorrow, why_not = _tomorrow(settings, ledger, warehouse) if with_tomorrow else (None, [])
    started = _first_session(ledger, found.account)
    moved = moved_by_costs(settings, snapshot, ledger, every, found.account, (as_of, trades))
    sessions, curve = equity_curve(settings, every, snapshot, started, as_of, moved)
    holdings = tuple(_holding(settings, held, ledger, snapshot, tomorrow, as_of) for held in every if held.is_open)
    last = last_claimed(ledger, found.account)
    orders = book.of_session(ledger, found.account, last) if last else []
    cash = settings.simulation.initial_cash
    equity = curve[-1] if len(curve) else cash
    # What no broker has told yet is what fills and costs have left.
    costs = math.fsum(dollars for _, dollars in moved) if found.is_counted else 0.0
    budget, share = daily_budget(settings.policy, _equity_before(last, sessions, curve, cash))
    return AccountView(
        stage=found.stage, number=found.account.partition(":")[2], strategy=settings.portfolio.book, as_of=as_of.isoformat(),
        started=started.isoformat() if started else None, start_cash=cash, equity=equity, cash=float(found.cash) + costs,
        pnl=equity - cash, pnl_today=equity - (curve[-2] if len(curve) > 1 else cash),
        unrealised=math.fsum(held.pnl for held in holdings), sessions=tuple(sessions), curve=tuple(curve),
        positions=holdings, working=_working(ledger, found), last_session=last.isoformat() if last else None,
        budget=budget, budget_share=share, budget_used=_used(ledger, found, last),
        refused=_refusals(orders), fills=tuple(fill_rows(ledger, warehouse, found.account, FILLS_SHOWN)),
        orders_by_state=orders_by_state(ledger, found.account), kill_switch=_switch(KillSwitch().status()),
        reconciliation=_reconciled(ledger, found.account), tomorrow=tomorrow.as_json() if tomorrow else None,
        notes=(
            *_never_reached(settings, found), *why_not, *_notes(settings, ledger, found.account),
            *_stops_hit(ledger, warehouse, found, as_of),
        ),
    )  # fmt: skip


def _equity_before(session: dt.date | None, sessions: Sequence[str], curve: Sequence[float], start: float) -> float:
    """Equity at the last close before `session`; at the last of all without one."""
    known = [worth for day, worth in zip(sessions, curve, strict=True) if session is None or day < session.isoformat()]
    return known[-1] if known else start


def _never_reached(settings: Settings, found: OnRecord) -> list[str]:
    """That equity and cash stand on the settings alone: an account that is the broker's, of which it has told nothing yet."""
    if found.is_embedded or found.stage == "shadow" or not found.is_counted:
        return []
    start = f"${settings.simulation.initial_cash:,.0f} of simulation.initial_cash"
    return [f"equity and cash are not known: the broker was never reached (assumed {start})"]


def _tomorrow(settings: Settings, ledger: OrderLedger, warehouse: Warehouse) -> tuple[Tomorrow | None, list[str]]:
    """What the next run would send; or why nothing will trade."""
    try:
        return orders_of_tomorrow(settings, ledger, warehouse), []
    except (UsageError, BadStrategy) as error:
        return None, [str(error)]


def _notes(settings: Settings, ledger: OrderLedger, account: str) -> list[str]:
    lines = switched(settings, ledger, account, settings.portfolio.strategies)
    stops = {order.symbol for order in book.in_states(ledger, account, UNSETTLED) if order.purpose == book.STOP}
    lines += [
        (ending_text if lifted.symbol in stops else lifted_text)(lifted.symbol, lifted.until)
        for lifted in still_lifted(ledger, account)
    ]
    elsewhere = held_elsewhere(ledger, account)
    return lines + [f"another account: {text}; only runs of that stage let it leave" for text in elsewhere]


def _stops_hit(ledger: OrderLedger, warehouse: Warehouse, found: OnRecord, session: dt.date) -> list[str]:
    """That the session's bar has hit stops of positions still on record: an embedded broker meets a bar with the next run."""
    if found.moment not in ((session, "pre_open"), (session, "open")):
        return []
    sql = "SELECT symbol, low, high FROM daily_bars WHERE session = ?"
    bars = {symbol: (low, high) for symbol, low, high in warehouse.rows(sql, [session])}
    hit = [
        order.symbol
        for order in book.in_states(ledger, found.account, UNSETTLED)
        if order.purpose == book.STOP and order.stop_price is not None and order.symbol in bars
        if (bars[order.symbol][0] <= order.stop_price if order.side == "sell" else bars[order.symbol][1] >= order.stop_price)
    ]
    return [f"stops that the bar of {session} has hit are booked by the next run: {', '.join(sorted(hit))}"] if hit else []


def simulated_curve(settings: Settings, warehouse: Warehouse, started: dt.date, as_of: dt.date) -> list[float] | None:
    """What the simulation, begun flat with the same money on the account's first day, is worth at each close.

    None where the bars do not hold those days, and where a strategy of the book is not there, or cannot be read.
    """
    try:
        parts = parts_named(settings)
        market = load_market(warehouse, settings)
    except (UsageError, BadStrategy):
        return None
    days = market.panel.sessions
    first, last = (int(np.searchsorted(days, np.datetime64(day))) for day in (started, as_of))
    if first > last or last >= len(days):
        return None
    # A window sells everything at its last close; the account has not, so that the window ends a session later.
    through = min(last + 1, len(days) - 1)
    outcome = simulate_book(market, parts, [canonical_params(settings, part.strategy) for part in parts], first, through)
    curve = [float(value) for value in outcome.equity[: last - first + 1]]
    if through == last:
        curve[-1] += _paid_to_close(settings, outcome, as_of)
    return curve


def _paid_to_close(settings: Settings, outcome: Outcome, day: dt.date) -> float:
    """Dollars of slippage and fees for what a window sold at its close, the last that is stored: shares are as traded there."""
    billing, slip = billing_of(settings), settings.costs.slippage_bps / BPS
    closed, paid = EXIT_REASONS.index("window_end"), 0.0
    for numbers, places in zip(outcome.numbers, outcome.places, strict=True):
        if places[T_REASON] == closed:
            price, shares, side = float(numbers[EXIT_PRICE]), float(numbers[SHARES]), float(places[T_SIDE])
            paid += side * shares * (price / (1.0 - side * slip) - price) + billing.of_order(side > 0.0, shares, price, day)
    return paid


def equity_curve(
    settings: Settings, every: Sequence[Position], snapshot: MarketSnapshot, started: dt.date | None, as_of: dt.date,
    moved: Sequence[tuple[dt.date, float]] = (),
) -> tuple[list[str], list[float]]:  # fmt: skip
    """(sessions, equity at their closes) from the first traded one to `as_of`, of every position there ever was.

    moved: (session, dollars) of what came and went beside the prices.
    """
    days = snapshot.sessions
    if started is None:
        return [], []
    days = days[(days >= np.datetime64(started)) & (days <= np.datetime64(as_of))]
    worth = np.full(len(days), float(settings.simulation.initial_cash))
    for held in every:
        worth += _gains(ledger_trade(held, snapshot), held, snapshot, days)
    for day, dollars in moved:
        worth[days >= np.datetime64(day)] += dollars
    return [str(day) for day in days], [float(value) for value in worth]


def _gains(trade: Trade, held: Position, snapshot: MarketSnapshot, days: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """Dollars that a position had made by the close of each day."""
    side = 1.0 if held.side == "long" else -1.0
    bars = snapshot.bars.get(held.symbol)
    marks = np.full(len(days), trade.entry_price)
    if bars is not None and len(bars.session):
        place = np.searchsorted(bars.session, days, side="right") - 1
        marks = np.where(place >= 0, bars.close[np.maximum(place, 0)], trade.entry_price)
    gains: NDArray[np.float64] = side * trade.shares * (marks - trade.entry_price)
    gains[days < np.datetime64(held.entry_session)] = 0.0
    if trade.exit_session is not None and trade.exit_price is not None:
        over = days >= np.datetime64(trade.exit_session)
        gains[over] = side * trade.shares * (trade.exit_price - trade.entry_price)
    elif held.exit_qty and held.exit_session is not None:
        # A part has left already, at its own price.
        factor = snapshot.factor(held.symbol, held.exit_session)
        over = days >= np.datetime64(held.exit_session)
        part = float(held.exit_qty) / factor
        gains[over] += side * part * (float(held.exit_value / held.exit_qty) * factor - marks[over])
    return gains


def _holding(
    settings: Settings,
    held: Position,
    ledger: OrderLedger,
    snapshot: MarketSnapshot,
    tomorrow: Tomorrow | None,
    as_of: dt.date,
) -> Holding:
    bars = snapshot.bars.get(held.symbol)
    count = 0 if bars is None else bars.count(dt.date.min, as_of)
    close = float(held.entry_price)
    if bars is not None and count and held.entry_session <= as_of:
        close = float(bars.close[count - 1]) / snapshot.factor(held.symbol, as_of)
    held_bars = held.bars_held
    if bars is not None:
        held_bars = max(held_bars, bars.count(held.entry_session - dt.timedelta(days=1), as_of))
    entry, shares = float(held.entry_price), float(held.qty)
    gain = float(held.signed_qty) * (close - entry)
    return Holding(
        held.symbol, held.strategy, held.side, shares, held.entry_session.isoformat(), entry, float(held.stop_price), close,
        shares * close, gain, gain / (shares * entry) if shares * entry else 0.0, held_bars,
        _next_exit(settings, held, ledger, tomorrow, held_bars, close),
    )  # fmt: skip


def _next_exit(
    settings: Settings, held: Position, ledger: OrderLedger, tomorrow: Tomorrow | None, bars_held: int, close: float
) -> str:  # fmt: skip
    leaving = next((row for row in tomorrow.exits if row.symbol == held.symbol), None) if tomorrow else None
    if leaving is not None:
        return f"at the next open: {in_words(leaving.reason)}"
    side = 1 if held.side == "long" else -1
    if held.stop_price > 0 and side * close < side * float(held.stop_price):
        return "by its stop, which the last close has passed"
    strategy = readable_strategies(settings)[0].get(held.strategy)
    if strategy is None:
        return "by its stop alone: its strategy is not registered"
    left = rules_of(settings, ledger, held, strategy)[0].get("time_stop")
    ways = []
    if (strategy.leave_long if held.side == "long" else strategy.leave_short) is not None:
        ways.append(f"on {in_words(strategy.leave_reason)}")
    if left is not None:
        bars = max(int(left) - bars_held, 0)
        ways.append(f"after {bars} more {'bar' if bars == 1 else 'bars'}")
    alone = "by its stop alone" if held.stop_price > 0 else "with the end of its listing"
    return ", or ".join(ways) or alone


def _working(ledger: OrderLedger, found: OnRecord) -> tuple[WorkingOrder, ...]:
    rows = book.in_states(ledger, found.account, UNSETTLED)
    return tuple(
        WorkingOrder(
            row.symbol, row.side, row.purpose, f"{row.kind} {row.time_in_force}", float(row.qty - row.filled_qty),
            None if (price := row.limit_price or row.stop_price) is None else float(price), str(row.state).lower(),
            row.session.isoformat(),
        )
        for row in rows
    )  # fmt: skip


def fill_rows(ledger: OrderLedger, warehouse: Warehouse, account: str, count: int) -> list[FillRow]:
    """The last fills, newest first, each against the open of its session, or the level of its stop."""
    rows = ledger.rows(
        "SELECT f.*, i.leg, i.stop_price FROM fills f JOIN intents i USING (client_order_id)"
        " WHERE f.account = ? ORDER BY f.rowid DESC LIMIT ?",
        (account, count),
    )
    opens = _opens(warehouse, {(row["symbol"], row["session"]) for row in rows})
    return [_fill(row, opens) for row in rows]


def _opens(warehouse: Warehouse, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], float]:
    if not wanted:
        return {}
    symbols, sessions = [list(column) for column in zip(*sorted(wanted), strict=True)]
    rows = warehouse.rows(read_sql(HERE, "opens_of_fills"), {"symbols": symbols, "sessions": sessions})
    return {(symbol, str(session)): opened for symbol, session, opened in rows}


def _fill(row: Any, opens: dict[tuple[str, str], float]) -> FillRow:
    purpose, price = str(row["leg"]).partition(".")[0], float(row["price"])
    is_stop = purpose == book.STOP and row["stop_price"] is not None
    reference = float(row["stop_price"]) if is_stop else opens.get((row["symbol"], row["session"]))
    dearer = 1.0 if row["side"] == "buy" else -1.0
    slipped = dearer * (price / reference - 1.0) * BPS if reference else None
    return FillRow(row["session"], row["symbol"], row["side"], purpose, float(row["qty"]), price, reference, slipped)


def _refusals(orders: Sequence[LedgerOrder]) -> dict[str, int]:
    denied = [i.reason for i in orders if i.purpose == book.ENTRY and i.state is OrderState.DENIED]
    return dict(Counter(denied).most_common())


def orders_by_state(ledger: OrderLedger, account: str | None = None) -> dict[str, int]:
    """How many orders of the account (of all) are in each state."""
    sql = "SELECT state, count(*) AS n FROM intents WHERE ?1 IS NULL OR account = ?1 GROUP BY state ORDER BY state"
    return {row["state"].lower(): row["n"] for row in ledger.rows(sql, (account,))}


def _first_session(ledger: OrderLedger, account: str) -> dt.date | None:
    rows = ledger.rows("SELECT min(session) AS day FROM session_claims WHERE account = ?", (account,))
    return dt.date.fromisoformat(rows[0]["day"]) if rows and rows[0]["day"] else None


def _used(ledger: OrderLedger, found: OnRecord, session: dt.date | None) -> float:
    return float(book.budget_used(ledger, found.account, session)) if session else 0.0


def _switch(status: KillStatus) -> dict[str, Any]:
    return {"on": status.is_on, "reason": status.reason, "by": status.by, "at": status.at}


def _reconciled(ledger: OrderLedger, account: str) -> dict[str, Any] | None:
    seen = last_reconciliation(ledger, account)
    if seen is None:
        return None
    return {"at": seen["at"], "session": seen["session"], "agrees": bool(seen["agrees"]), "differences": seen["differences"]}
