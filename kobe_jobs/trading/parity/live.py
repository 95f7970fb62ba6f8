"""Yesterday's live trading against the simulation: the positions of the evening before, the same signals, every difference.

The simulation starts where the ledger stood, so that a difference of an earlier day is not reported again each day.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kobe_assets.graph.frames import book_trades
from kobe_assets.graph.inputs import canonical_params, load_market, parts_of
from kobe_assets.graph.own_strategies import strategies_of
from kobe_assets.research.entry_queue import Feed, interleave
from kobe_assets.research.panel import ROW_FACTOR, ROW_HIGH, ROW_LOW, ROW_OPEN
from kobe_assets.research.simulation import simulate, terms_of
from kobe_assets.research.strategies import Strategy
from kobe_assets.research.walk_forward import Market, Part, feed_of
from kobe_jobs.trading.market_snapshot import MarketSnapshot, load_market_snapshot
from kobe_jobs.trading.parity.compare import OPEN_END, Mismatch, Trade, compare_trades
from kobe_jobs.trading.parity.trades import ledger_fates, ledger_trade, simulated_trades
from kobe_jobs.trading.roll_forward import SUSPECT
from kobe_resources import calendar
from kobe_resources.order_ledger import OrderLedger, Position
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import all_positions
from kobe_resources.order_ledger.sessions import claim_of
from kobe_resources.policy_gate import ALREADY_OPEN
from kobe_resources.settings.models import BOOK, Settings
from kobe_resources.warehouse.store import Warehouse


@dataclass(frozen=True)
class Evening:
    """What a session is simulated from: its index, the ledger's positions of the evening before, and the cash it began with.

    rules: by position, what it was entered with, where that is on record.
    """

    index: int
    session: dt.date
    held: list[Position]
    cash: float
    rules: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LiveParity:
    """The last traded session that is over, its differences, and the trades compared.

    not_compared: why the session, or a part of it, was not; empty where all of it was.
    """

    session: dt.date | None
    rows: list[Mismatch] = field(default_factory=list)
    compared: int = 0
    not_compared: str = ""

    @property
    def holds(self) -> bool:
        """Whether all was compared, and nothing differs."""
        return not self.rows and not self.not_compared


def live_parity(settings: Settings, warehouse: Warehouse, ledger: OrderLedger, now: dt.datetime) -> LiveParity:
    """The last traded session whose close has passed, against the simulation.

    Every strategy that traded the account is compared, each from the positions that it held the evening before. Trades that
    entered or left in that session count. A coming session, whose auction has its orders already, is none of them yet.
    """
    traded = ledger.rows(
        "SELECT account FROM session_claims WHERE account NOT LIKE 'shadow:%'"
        " GROUP BY account ORDER BY max(ended_at) DESC LIMIT 1"
    )
    if not traded:
        return LiveParity(None, not_compared="no session was traded yet")
    account = traded[0]["account"]
    market = load_market(warehouse, settings)
    sessions = market.panel.sessions
    over = max(calendar.latest_complete_session(now, calendar.BARS_PUBLISHED_AFTER), sessions[-1].item())
    sql = "SELECT max(session) AS last FROM session_claims WHERE account = ? AND session <= ?"
    last = ledger.rows(sql, (account, over.isoformat()))[0]["last"]
    if last is None:
        return LiveParity(None, not_compared="no session that was traded is over yet")
    session = dt.date.fromisoformat(last)
    index = int(np.searchsorted(sessions, np.datetime64(session)))
    if index == len(sessions) or sessions[index] != np.datetime64(session):
        return LiveParity(session, not_compared=f"the bars of {session} are not stored: `kobe report` brings them")
    if index == 0:
        return LiveParity(session, not_compared=f"no bars are stored before {session}")
    rows: list[Mismatch] = []
    compared = 0
    books, gone = _books(settings, ledger, account, session)
    for parts in books:
        found, count = _compare(settings, warehouse, ledger, market, account, parts, index)
        rows += found
        compared += count
    why = f"{', '.join(gone)} traded or held something in {session}, and no such strategy trades now" if gone else ""
    return LiveParity(session, rows, compared, why)


def _books(settings: Settings, ledger: OrderLedger, account: str, session: dt.date) -> tuple[list[tuple[Part, ...]], list[str]]:
    """What is compared together: the strategies of the book that traded the session, and each other one of the account.

    Beside them the names of those that traded or held something in the session, and are not there any more.
    """
    claim = claim_of(ledger, account, session)
    is_book = claim is not None and claim.strategy == BOOK == settings.portfolio.book
    book_parts = parts_of(settings) if is_book else ()
    together = {BOOK, *(part.strategy.name for part in book_parts)} if is_book else set()
    alone = [name for name in _strategies(ledger, account) if name not in together]
    known = strategies_of(settings)
    single: list[tuple[Part, ...]] = [(Part(known[name], 1.0),) for name in alone if name in known]
    positions = all_positions(ledger, account)
    held = {
        p.strategy for p in positions if p.entry_session <= session and (p.is_open or (p.exit_session or session) >= session)
    }
    gone = [name for name in alone if name not in known and (name in held or _decided(ledger, account, [name], session))]
    return ([book_parts, *single] if book_parts else single), gone


def _strategies(ledger: OrderLedger, account: str) -> list[str]:
    """Names of every strategy that traded the account or holds something there."""
    rows = ledger.rows(
        "SELECT strategy FROM session_claims WHERE account = ?1 UNION SELECT strategy FROM intents WHERE account = ?1"
        " UNION SELECT strategy FROM positions WHERE account = ?1 ORDER BY 1",
        (account,),
    )
    return [row["strategy"] for row in rows]


def _compare(
    settings: Settings, warehouse: Warehouse, ledger: OrderLedger, market: Market, account: str, parts: Sequence[Part],
    index: int,
) -> tuple[list[Mismatch], int]:  # fmt: skip
    """The differences of one book on one session, and how many trades entered or left in it."""
    session: dt.date = market.panel.sessions[index].item()
    before: dt.date = market.panel.sessions[index - 1].item()
    names = [part.strategy.name for part in parts]
    mine = [p for p in all_positions(ledger, account) if p.strategy in names]
    held = [p for p in mine if p.entry_session < session and (p.is_open or (p.exit_session or session) >= session)]
    if not held and not _decided(ledger, account, [*names, *([BOOK] if len(names) > 1 else [])], session):
        return [], 0
    snapshot = load_market_snapshot(warehouse, names, before, session, {p.symbol for p in mine})
    rules = {p.id: entry.decision.get("rules") for p in held if (entry := book.find(ledger, p.id)) is not None}
    evening = Evening(index, session, held, _cash(settings, ledger, account, session), rules)
    simulated = simulate_session(market, settings, parts, snapshot, evening)
    live = [_until(ledger_trade(p, snapshot), session) for p in [*held, *(p for p in mine if p.entry_session == session)]]
    signals = [(signal.symbol, signal.session) for day in snapshot.signals.values() for signal in day]
    signals += [(p.symbol, p.signal_session) for p in held]
    fates = ledger_fates(ledger, account, None if len(names) > 1 else names[0])
    rows = compare_trades(simulated, live, fates, signals)
    touched = {trade.key for trade in [*simulated, *live] if session in (trade.entry_session, _left(trade))}
    return [row for row in rows if (row.symbol, row.signal_session) in touched], len(touched)


def simulate_session(
    market: Market, settings: Settings, parts: Sequence[Part], snapshot: MarketSnapshot, evening: Evening
) -> list[Trade]:
    """One session of the simulation (rules, section 4) begun with the evening's positions and cash.

    Each position leaves by the rules that it was entered with.
    """
    params = [canonical_params(settings, part.strategy) for part in parts]
    feeds = [feed_of(market, part.strategy, own) for part, own in zip(parts, params, strict=True)]
    trades = []
    for held in evening.held:
        place = next((n for n, part in enumerate(parts) if part.strategy.name == held.strategy), 0)
        strategy, own, feed = parts[place].strategy, params[place], feeds[place]
        kept = (evening.rules.get(held.id) or {}).get("params")
        if kept and kept != own:
            own = {**own, **kept}
            feed = feed_of(market, strategy, own)
        trades.append(_live_through(market, feed, strategy, own, snapshot, evening, held))
    sold = sum(
        _side(trade) * trade.shares * trade.exit_price
        for trade in trades
        if trade.exit_reason != book.STOP and trade.exit_price is not None
    )
    feed = feeds[0] if len(feeds) == 1 else interleave(market.panel, feeds)
    names = {name: place for place, name in enumerate(market.panel.symbols)}
    taken = [names[held.symbol] for held in evening.held if held.symbol in names]
    codes = feed.entries.code.copy()
    codes[np.isin(feed.entries.symbol, taken)] = ALREADY_OPEN
    costs = market.costs._replace(initial_cash=evening.cash + sold)
    outcome = simulate(
        feed._replace(entries=feed.entries._replace(code=codes)), evening.index, evening.index,
        terms_of(params, [part.weight for part in parts]), costs, market.limits, market.auction,
    )  # fmt: skip
    return [*trades, *simulated_trades(book_trades([part.strategy for part in parts], outcome, market.panel))]


def _live_through(
    market: Market,
    feed: Feed,
    strategy: Strategy,
    params: dict[str, float],
    snapshot: MarketSnapshot,
    evening: Evening,
    held: Position,
) -> Trade:
    """A held position after the session: out at the open where a flag stood, out at its stop, or still open."""
    trade = dataclasses.replace(ledger_trade(held, snapshot), exit_session=None, exit_price=None, exit_reason=OPEN_END)
    panel = market.panel
    if held.symbol not in panel.symbols:
        return trade
    # The last of the symbol's listings: a position ends with its own.
    symbol = max(place for place, name in enumerate(panel.symbols) if name == held.symbol)
    bar = int(panel.bar_at[evening.index, symbol])
    if bar < 0:
        return trade
    side, slip, row = _side(trade), market.costs.slippage, feed.rows[bar]
    flag = _flag(market, feed, strategy, params, held, symbol, evening.index)
    if flag:
        price = float(row[ROW_OPEN]) * (1.0 - side * slip)
        return dataclasses.replace(trade, exit_session=evening.session, exit_price=price, exit_reason=flag)
    stop = float(held.stop_price) * float(row[ROW_FACTOR])
    is_hit = row[ROW_LOW] <= stop if side > 0 else row[ROW_HIGH] >= stop
    if not is_hit or not stop > 0:
        return trade
    met = min(float(row[ROW_OPEN]), stop) if side > 0 else max(float(row[ROW_OPEN]), stop)
    price = met * (1.0 - side * slip)
    return dataclasses.replace(trade, exit_session=evening.session, exit_price=price, exit_reason=book.STOP)


def _flag(
    market: Market, feed: Feed, strategy: Strategy, params: dict[str, float], held: Position, symbol: int, index: int
) -> str:
    """Why a position was to leave at this open: the first exit signal among its bars of the sessions before, or ''."""
    panel = market.panel
    first = int(np.searchsorted(panel.sessions, np.datetime64(held.entry_session)))
    bars = [int(bar) for bar in panel.bar_at[first:index, symbol] if bar >= 0]
    mark = float(held.entry_price * held.split_factor) * float(panel.rows[bars[0], ROW_FACTOR]) if bars else 0.0
    for number, bar in enumerate(bars, start=1):
        close = float(panel.close[bar])
        if market.suspect is not None and market.suspect[bar] and (close - mark) * (1 if held.side == "long" else -1) > 0:
            return SUSPECT
        mark = close
        if feed.leave[0, bar] & (1 if held.side == "long" else 2):
            return strategy.leave_reason
        if number >= params.get("time_stop", math.inf):
            return "time_stop"
    return ""


def _side(trade: Trade) -> float:
    return 1.0 if trade.side == "long" else -1.0


def _decided(ledger: OrderLedger, account: str, names: Sequence[str], session: dt.date) -> bool:
    claim = claim_of(ledger, account, session)
    return claim is not None and claim.strategy in names


def _cash(settings: Settings, ledger: OrderLedger, account: str, session: dt.date) -> float:
    """Cash before the session's first entry, as its decision has it, without what its exits brought."""
    entries = [order for order in book.of_session(ledger, account, session) if order.purpose == book.ENTRY]
    cash = next((order.decision["cash"] for order in entries if "cash" in order.decision), None)
    if cash is None:
        return settings.simulation.initial_cash
    sold = sum(
        (1.0 if order.side == "sell" else -1.0) * float(order.filled_qty * (order.filled_avg_price or 0))
        for order in book.of_session(ledger, account, session)
        if order.purpose == book.EXIT
    )
    return math.fsum([float(cash), -sold])


def _until(trade: Trade, session: dt.date) -> Trade:
    """The trade as it stood after the session."""
    if trade.exit_session is None or trade.exit_session <= session:
        return trade
    return dataclasses.replace(trade, exit_session=None, exit_price=None, exit_reason=None)


def _left(trade: Trade) -> dt.date | None:
    # The end of the simulated window is no event of that day.
    return None if trade.exit_reason == OPEN_END else trade.exit_session
