"""A machine that plans, sends, crashes, looks up and reopens at random: the ledger's laws hold after every step."""

from __future__ import annotations

import datetime as dt
import json
import tempfile
from decimal import Decimal
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kobe_resources.broker.protocol import OrderStatus
from kobe_resources.order_ledger import IllegalMove, OrderLedger, OrderState
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import all_positions
from kobe_resources.order_ledger.settlement import settle
from kobe_resources.order_ledger.states import ENDED, MOVES
from tests.support.builders.trading import ACCOUNT, OPENED, SESSION, answer, order_plan

BUDGET = Decimal(400)
SYMBOLS = [f"S{n}" for n in range(8)]
states = st.sampled_from(list(OrderState))


class LedgerMachine(RuleBasedStateMachine):
    """The ledger against a broker that is only a dict: symbol → (shares filled, over)."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.ledger = OrderLedger(Path(self.folder.name) / "orders.sqlite", disposable=True)
        self.seen: dict[str, list[OrderState]] = {}
        self.filled: dict[str, Decimal] = {}

    def teardown(self) -> None:
        self.ledger.close()
        self.folder.cleanup()

    @rule(symbol=st.sampled_from(SYMBOLS), shares=st.integers(1, 3), price=st.integers(20, 60))
    def plan(self, symbol: str, shares: int, price: int) -> None:
        given = order_plan(symbol, qty=Decimal(shares), limit_price=Decimal(price), reserved=Decimal(shares * price))
        known = book.find(self.ledger, given.client_order_id)
        used = book.budget_used(self.ledger, ACCOUNT, SESSION)
        try:
            with self.ledger.write() as write:
                made = book.plan(write, given, BUDGET)
        except book.BudgetExceeded:
            assert used + given.reserved > BUDGET
            assert known is None
        else:
            assert made == known or known is None

    @rule(symbol=st.sampled_from(SYMBOLS), crash=st.booleans())
    def claim(self, symbol: str, crash: bool) -> None:
        order = book.find(self.ledger, order_plan(symbol).client_order_id)
        if order is None:
            return
        try:
            with self.ledger.write() as write:
                claimed = book.claim(write, order.client_order_id, "me")
                assert (claimed is not None) == (order.state is OrderState.PLANNED)
                if crash:
                    raise InterruptedError
        except InterruptedError:
            assert book.get(self.ledger, order.client_order_id) == order

    @rule(symbol=st.sampled_from(SYMBOLS), state=states)
    def move_anywhere(self, symbol: str, state: OrderState) -> None:
        order = book.find(self.ledger, order_plan(symbol).client_order_id)
        if order is None or state in (OrderState.FILLED, OrderState.PARTIAL):
            return
        if state is OrderState.PLANNED and order.state is OrderState.NOT_PLACED:
            return
        try:
            with self.ledger.write() as write:
                book.move(write, order, state, "moved")
        except IllegalMove:
            assert state not in MOVES[order.state]
        else:
            assert state in MOVES[order.state]

    @rule(symbol=st.sampled_from(SYMBOLS), share=st.sampled_from(["0", "0.5", "1"]), status=st.sampled_from(list(OrderStatus)))
    def look_up(self, symbol: str, share: str, status: OrderStatus) -> None:
        ours = book.find(self.ledger, order_plan(symbol).client_order_id)
        if ours is None or ours.state in (OrderState.PLANNED, *ENDED):
            return
        filled = ours.qty * Decimal(share)
        order = answer(ours, status.value, str(filled), None if not filled else str(ours.limit_price))
        total = max(filled, self.filled.get(symbol, Decimal(0)))
        with self.ledger.write() as write:
            try:
                settle(write, ours.client_order_id, order, OPENED)
            except IllegalMove:
                # An alive status after a dead one changes the state no more.
                assert book.get(self.ledger, ours.client_order_id).state is ours.state
                raise
        self.filled[symbol] = total

    @precondition(lambda self: self.seen)
    @rule()
    def reopen(self) -> None:
        path = self.ledger.path
        before = self.ledger.rows("SELECT * FROM intents")
        self.ledger.close()
        self.ledger = OrderLedger(path, disposable=True)
        assert self.ledger.rows("SELECT * FROM intents") == before

    @rule()
    def copy(self) -> None:
        self.ledger.copy_audit()

    @invariant()
    def never_over_budget(self) -> None:
        assert book.budget_used(self.ledger, ACCOUNT, SESSION) <= BUDGET

    @invariant()
    def shares_of_fills_intents_and_positions_agree(self) -> None:
        held = {p.symbol: p.qty for p in all_positions(self.ledger, ACCOUNT)}
        for order in book.of_session(self.ledger, ACCOUNT, SESSION):
            rows = self.ledger.rows("SELECT qty FROM fills WHERE client_order_id = ?", (order.client_order_id,))
            assert sum((Decimal(row["qty"]) for row in rows), Decimal(0)) == order.filled_qty
            assert held.get(order.symbol, Decimal(0)) == order.filled_qty == self.filled.get(order.symbol, Decimal(0))

    @invariant()
    def states_only_ever_moved_legally(self) -> None:
        for order in book.of_session(self.ledger, ACCOUNT, SESSION):
            path = self.seen.setdefault(order.symbol, [OrderState.PLANNED])
            if path[-1] is not order.state:
                path.append(order.state)
        moves = [json.loads(row["body"]) for row in self.ledger.rows("SELECT body FROM audit")]
        for body in moves:
            if "old" in body:
                assert OrderState(body["new"]) in MOVES[OrderState(body["old"])]

    @invariant()
    def the_chain_holds(self) -> None:
        found = self.ledger.verify_audit()
        assert found.holds, found.problem


LedgerMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=dt.timedelta(seconds=5))
TestLedgerMachine = LedgerMachine.TestCase
