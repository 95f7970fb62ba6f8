"""A paper book: orders that a stage which sends nothing would have sent, and their fills, kept under that stage's own account.

The rows are those of real orders, in a state of their own; positions, ageing and profit follow from them as from real ones.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from kobe_resources.order_ledger.fills import insert_fill
from kobe_resources.order_ledger.orders import ENTRY, ZERO, LedgerOrder, get, text_of
from kobe_resources.order_ledger.positions import apply_fill
from kobe_resources.order_ledger.states import OrderState
from kobe_resources.order_ledger.store import Write


def fill_on_paper(write: Write, order: LedgerOrder, price: Decimal, session: dt.date) -> LedgerOrder:
    """Let the whole order be filled at `price` in `session`, and open or close its position; harmless to repeat."""
    if order.state is not OrderState.WOULD_SEND or order.filled_qty:
        return order
    insert_fill(write, order, order.qty, order.qty, price, session, write.now)
    spent = order.qty * price if order.purpose == ENTRY else ZERO
    write.execute(
        "UPDATE intents SET filled_qty = qty, filled_avg_price = ?, spent = ?, reserved = '0', updated_at = ?"
        " WHERE client_order_id = ?",
        (text_of(price), text_of(spent), write.now.isoformat(), order.client_order_id),
    )
    write.audit(
        "filled_on_paper", order=order.client_order_id, symbol=order.symbol, side=order.side, leg=order.tag,
        qty=text_of(order.qty), price=text_of(price), session=session,
    )  # fmt: skip
    apply_fill(write, get(write, order.client_order_id), order.qty, price, session)
    return get(write, order.client_order_id)
