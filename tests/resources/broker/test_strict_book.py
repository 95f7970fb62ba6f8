"""Whatever is ordered, cancelled, split and delayed: cash and shares are conserved, nothing fills twice, nothing is oversold.

The expected side keeps a book of its own, from the list of fills and of cash in lieu alone.
"""

from __future__ import annotations

import datetime as dt
import math
import tempfile
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kobe_resources.broker.exchange.bars import ExchangeSplit
from kobe_resources.broker.exchange.clock import PHASES, ExchangeMarket
from kobe_resources.broker.exchange.embedded import EXACT, PROMPT, Moment, StoredBars, Strictness, Terms
from kobe_resources.broker.exchange.faults import Fault, FaultScript
from kobe_resources.broker.exchange.matching import Book
from kobe_resources.broker.exchange.order_rules import Refusal
from kobe_resources.broker.exchange.state import OPEN_STATUSES, Row, State
from tests.resources.broker.conftest import SESSIONS

CASH = 2_000.0
NEVER_S = 3600.0
SYMBOLS = ("A", "B")
NAMES = st.sampled_from(SYMBOLS)
OF_ORDERS = st.sampled_from(["", "", "", "partial_fill", "no_fill", "slow_new", "slow_fill", "late_reject", "late_cancel"])
AWAY = st.sampled_from([0.8, 0.96, 0.995, 1.0, 1.02, 1.2])
"""Limits and stops as a share of the price."""
ACTIONS = st.one_of(
    st.tuples(
        st.just("submit"), NAMES, st.sampled_from(["buy", "sell"]), st.sampled_from(["market", "limit", "stop"]),
        st.sampled_from(["day", "gtc", "ioc"]), st.integers(1, 30), AWAY, OF_ORDERS,
    ),
    st.tuples(st.just("cancel"), st.integers(0, 30), st.sampled_from(["", "slow_cancel", "fill_on_cancel"])),
    st.tuples(st.just("settle")),
    st.tuples(st.just("step"), st.integers(1, 5)),
    st.tuples(st.just("close"), NAMES),
)  # fmt: skip
PRICES = st.lists(st.sampled_from([0.5, 0.9, 1.0, 1.1, 1.7]), min_size=len(SESSIONS), max_size=len(SESSIONS))
RATIOS = st.dictionaries(
    st.tuples(NAMES, st.sampled_from(SESSIONS[1:])), st.sampled_from([2.0, 10.0, 1.5, 0.1, 1 / 3, 0.5]), max_size=3
)
STRICTNESSES = st.sampled_from(
    [
        PROMPT,
        Strictness(new_after_s=NEVER_S),
        Strictness(fill_after_s=NEVER_S, cancel_after_s=NEVER_S),
        Strictness(no_offer_until_s=5.0, spread_bps=30.0),
        Strictness(refuses_wash_trades=False, checks_stop_side=False),
        EXACT,
    ]
)


def bars_of(moves: list[float], ratios: dict[tuple[str, dt.date], float]) -> StoredBars:
    """Bars that jump by `moves`, with the splits in them."""
    rows = []
    for symbol in SYMBOLS:
        price = 100.0 if symbol == "A" else 7.0
        for session, move in zip(SESSIONS, moves, strict=True):
            price = min(max(price * move / ratios.get((symbol, session), 1.0), 1.0), 5000.0)
            rows.append((symbol, session, price, price * 1.1, price * 0.9, price * 1.01))
    return StoredBars.of_rows(rows, [ExchangeSplit(symbol, day, ratio) for (symbol, day), ratio in ratios.items()])


class Player:
    """Plays actions on a book, and keeps one of its own from what the broker lists."""

    def __init__(self, folder: Path, bars: StoredBars, strictness: Strictness, ratios: dict[Any, float]) -> None:
        self.ratios = ratios
        script = FaultScript(strictness)
        market = ExchangeMarket(bars, 0.0005, script)
        self.state = State(folder, "PA0", CASH, Moment(SESSIONS[0], "pre_open"))
        self.book = Book(self.state, market, Terms(CASH, strictness=strictness))
        self.book.advance_to(SESSIONS[0], "open")
        self.sent = 0

    def play(self, action: tuple[Any, ...]) -> None:
        """One action; a refusal changes nothing at all."""
        before = self.dump()
        refusal = None
        try:
            getattr(self, action[0])(*action[1:])
        except Refusal as error:
            refusal = error
        if refusal is not None:
            assert refusal.status in (403, 404, 422)
            assert refusal.message
            assert self.dump() == before
        self.check()

    def submit(self, symbol: str, side: str, kind: str, tif: str, qty: int, away: float, fault: str) -> None:
        self.sent += 1
        price = self.book.market.price(symbol, self.state.moment()) or 1.0
        fields: dict[str, Any] = {
            "client_order_id": f"o{self.sent}", "symbol": symbol, "side": side, "type": kind, "time_in_force": tif,
            "qty": str(qty),
        }  # fmt: skip
        if kind != "market":
            fields[f"{kind}_price"] = str(round(price * away, 2))
        struck = Fault.of({"kind": fault, "seconds": NEVER_S, "share": 0.4}) if fault else None
        self.book.submit(fields, struck)

    def close(self, symbol: str) -> None:
        """Sell, or buy back, the whole position as far as it is free."""
        held = self.state.position(symbol)
        if held:
            self.submit(symbol, "sell" if held > 0 else "buy", "market", "day", math.ceil(abs(held)), 1.0, "")

    def cancel(self, which: int, fault: str) -> None:
        rows = self.state.rows("SELECT id FROM orders ORDER BY seq")
        if rows:
            struck = Fault.of({"kind": fault, "seconds": NEVER_S}) if fault else None
            self.book.cancel(rows[which % len(rows)]["id"], struck)

    def settle(self) -> None:
        self.book.settle(everything=True)

    def step(self, phases: int) -> None:
        moment = self.state.moment()
        at = SESSIONS.index(moment.session) * len(PHASES) + PHASES.index(moment.phase) + phases
        at = min(at, len(SESSIONS) * len(PHASES) - 1)
        self.book.advance_to(SESSIONS[at // len(PHASES)], PHASES[at % len(PHASES)])

    def dump(self) -> list[tuple[Any, ...]]:
        tables = ("account", "orders", "positions", "fills", "plans", "activities")
        return [tuple(row) for table in tables for row in self.state.rows(f"SELECT * FROM {table}")]

    def check(self) -> None:
        """The laws."""
        orders = self.state.rows("SELECT * FROM orders ORDER BY seq")
        fills = self.state.rows("SELECT * FROM fills ORDER BY seq")
        paid = self.state.rows("SELECT * FROM activities ORDER BY seq")
        self._cash(fills, paid)
        self._shares(fills, paid)
        self._orders(orders, fills)
        self._held(orders)

    def _cash(self, fills: list[Row], paid: list[Row]) -> None:
        expected = CASH - sum(_signed(fill) * fill["price"] for fill in fills) + sum(row["qty"] * row["price"] for row in paid)
        assert self.state.account()["cash"] == pytest.approx(expected, rel=1e-9, abs=1e-6)

    def _shares(self, fills: list[Row], paid: list[Row]) -> None:
        """Fills in shares of their day, carried over every split since, less what was paid in cash."""
        today = self.state.moment().session
        for symbol in SYMBOLS:
            splits = [(day, ratio) for (name, day), ratio in self.ratios.items() if name == symbol and day <= today]

            def carried(qty: float, since: str, splits: list[Any] = splits) -> float:
                first = dt.date.fromisoformat(since[:10])
                return qty * math.prod(ratio for day, ratio in splits if day > first)

            held = sum(carried(_signed(fill), fill["at"]) for fill in fills if fill["symbol"] == symbol)
            held -= sum(carried(row["qty"], row["at"]) for row in paid if row["symbol"] == symbol)
            assert self.state.position(symbol) == pytest.approx(held, rel=1e-9, abs=1e-6)
            if self.book.strictness.cash_in_lieu:
                assert self.state.position(symbol) == round(self.state.position(symbol))

    def _orders(self, orders: list[Row], fills: list[Row]) -> None:
        filled: dict[str, float] = {}
        for fill in fills:
            filled[fill["order_id"]] = filled.get(fill["order_id"], 0.0) + fill["qty"]
            assert fill["qty"] > 0
            assert fill["price"] > 0
        for order in orders:
            assert order["filled_qty"] == pytest.approx(filled.get(order["id"], 0.0), abs=1e-9)
            assert order["filled_qty"] <= order["qty"] + 1e-9
            assert (order["status"] == "filled") == (order["filled_qty"] == order["qty"])
            limit = order["limit_price"]
            if limit is not None and order["time_in_force"] != "gtc" and order["filled_avg_price"]:
                over = order["filled_avg_price"] - limit
                assert (over if order["side"] == "buy" else -over) <= 1e-6
        planned = {row["order_id"] for row in self.state.rows("SELECT order_id FROM plans")}
        assert planned <= {order["id"] for order in orders if order["status"] in OPEN_STATUSES}
        assert max(Counter(order["client_order_id"] for order in orders).values(), default=0) <= 1

    def _held(self, orders: list[Row]) -> None:
        """Closing orders that are open never bind more shares than there are."""
        for symbol in SYMBOLS:
            held = self.state.position(symbol)
            side = "sell" if held > 0 else "buy"
            mine = [order for order in orders if order["symbol"] == symbol and order["status"] in OPEN_STATUSES]
            bound = sum(order["qty"] - order["filled_qty"] for order in mine if order["side"] == side and not order["opens"])
            if held:
                assert bound <= abs(held) + 1e-6


def _signed(fill: Row) -> float:
    return float(fill["qty"] if fill["side"] == "buy" else -fill["qty"])


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(moves=PRICES, ratios=RATIOS, strictness=STRICTNESSES, actions=st.lists(ACTIONS, min_size=5, max_size=40))
def test_the_laws_hold_after_every_action(
    moves: list[float], ratios: dict[Any, float], strictness: Strictness, actions: list[tuple[Any, ...]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        player = Player(Path(folder), bars_of(moves, ratios), strictness, ratios)
        for action in actions:
            player.play(action)
        player.book.advance_to(SESSIONS[-1], "after")
        player.check()
        assert player.state.next_due() is None
        player.state.close()


@settings(max_examples=60, deadline=None)
@given(
    shares=st.integers(1, 10_000),
    parts=st.lists(st.integers(1, 3000), max_size=4),
    up=st.integers(1, 50),
    down=st.integers(1, 50),
)
def test_a_split_pays_exactly_for_what_it_takes(shares: int, parts: list[int], up: int, down: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        state = State(Path(folder), "PA0", 0.0, Moment(SESSIONS[0], "pre_open"))
        state.run("INSERT INTO positions VALUES ('A', ?, 10)", (float(shares),))
        free = shares
        for number, part in enumerate(parts):
            part = min(part, free)
            free -= part
            if part:
                state.run(
                    "INSERT INTO orders (id, client_order_id, symbol, side, kind, time_in_force, qty, stop_price, status, "
                    "opens, submitted_at, updated_at) VALUES (?1, ?1, 'A', 'sell', 'stop', 'gtc', ?2, 9, 'new', 0, '', '')",
                    (str(number), float(part)),
                )
        state.split("A", up / down, whole=True, moves_stops=False, price=8.0, at="2024-07-02T")
        exact = Fraction(shares) * up / down
        assert state.position("A") == math.floor(exact)
        assert state.account()["cash"] == pytest.approx(float(exact - math.floor(exact)) * 8.0, abs=1e-5)
        bound = sum(order["qty"] for order in state.open_orders("A"))
        assert bound <= state.position("A")
        assert all(order["qty"] == int(order["qty"]) and order["stop_price"] == 9 for order in state.open_orders("A"))
        state.close()
