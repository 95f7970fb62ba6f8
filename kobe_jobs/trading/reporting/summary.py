"""What a trading run did, for people and programs: from signals through refusals to orders and fills."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from kobe_jobs.trading.context import SessionContext
from kobe_jobs.trading.protection import Protection
from kobe_jobs.trading.reporting.order_rows import order_row, position_row
from kobe_jobs.trading.splits_ahead import waiting_for_split
from kobe_resources.order_ledger import LedgerOrder, OrderState
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import open_positions
from kobe_resources.order_ledger.states import UNSETTLED

FILLED = (OrderState.FILLED, OrderState.PARTIAL)


@dataclass(frozen=True)
class RunSummary:
    """One run of one session. `halted` says why it did not do all it should have; empty where it did.

    unprotected, orphans: symbols without their stop, and with a stop and no position, as the broker showed them last.

    signals = refused (by reason) + submitted + pending + would_send; submitted = filled (wholly or in part) + unfilled +
    working + unsettled. working: entries that wait for the auction, or for their limit, as they should.
    untraded: why nothing was traded, where the market is shut and what is held was only looked after; else empty.
    `orders` are the session's, as `order_row` gives them, in the order they were decided; `positions` what is open after it.
    """

    run_id: str
    stage: str
    account: str
    strategy: str
    session: dt.date
    signal_session: dt.date
    signals: int
    refused: dict[str, int]
    submitted: int
    filled: int
    unfilled: int
    unsettled: int
    pending: int
    exits: dict[str, int]
    exits_filled: int
    stops: int
    unprotected: tuple[str, ...]
    budget_used: str
    orphans: tuple[str, ...]
    differences: tuple[dict[str, Any], ...]
    config_pin: str
    audit_head: str
    orders: tuple[dict[str, Any], ...] = ()
    positions: tuple[dict[str, Any], ...] = ()
    would_send: int = 0
    halted: str = ""
    notes: tuple[str, ...] = field(default_factory=tuple)
    working: int = 0
    untraded: str = ""

    @property
    def is_clean(self) -> bool:
        """Whether everything was done, both sides agree, and every position has its stop."""
        return not (self.halted or self.unprotected or self.orphans or self.unsettled)

    def as_json(self) -> dict[str, Any]:
        """Plain values; dates as text."""
        plain = asdict(self)
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}
        plain["session"], plain["signal_session"] = self.session.isoformat(), self.signal_session.isoformat()
        return {**plain, "clean": self.is_clean}

    def waterfall(self) -> list[tuple[str, int]]:
        """(step, count): signals, each refusal, what went out, what was filled."""
        refusals = sorted(self.refused.items(), key=lambda item: (-item[1], item[0]))
        rows = [("signals", self.signals), *((f"refused: {reason}", -count) for reason, count in refusals)]
        if self.would_send:
            # A stage that sends nothing: the rest is its paper book's.
            return [*rows, ("would be sent", self.would_send), ("filled on paper", self.filled)]
        if self.pending:
            rows.append(("not sent", -self.pending))
        rows.append(("submitted", self.submitted))
        if self.unfilled:
            rows.append(("not filled", -self.unfilled))
        if self.working:
            rows.append(("waiting for the market", -self.working))
        if self.unsettled:
            rows.append(("not settled", -self.unsettled))
        return [*rows, ("filled", self.filled)]


def summarize(context: SessionContext, differences: tuple[dict[str, Any], ...], halted: str, found: Protection) -> RunSummary:
    """The summary of the session from the ledger, whichever of its runs did what.

    found: what the broker showed last.
    """
    orders = book.of_session(context.ledger, context.account, context.session)
    entries = [order for order in orders if order.purpose == book.ENTRY]
    exits = [order for order in orders if order.purpose == book.EXIT]
    gone = [order for order in entries if order.posts]
    on_paper = [order for order in entries if _is_paper(order)]
    still_open, lifted = open_positions(context.ledger, context.account), waiting_for_split(context)
    return RunSummary(
        run_id=context.ledger.run_id,
        stage=context.stage,
        account=context.account,
        strategy=context.book_name,
        session=context.session,
        signal_session=context.signal_session,
        signals=len(context.snapshot.signals_of(context.signal_session)),
        refused=_reasons(entries),
        submitted=len(gone),
        filled=sum(order.state in FILLED for order in gone) + sum(bool(order.filled_qty) for order in on_paper),
        unfilled=sum(order.state not in (*FILLED, *UNSETTLED, OrderState.PLANNED) for order in gone),
        unsettled=sum(order.state in UNSETTLED and not context.is_working(order) for order in gone),
        working=sum(context.is_working(order) for order in gone),
        pending=sum(order.state is OrderState.PLANNED and not order.posts for order in entries),
        exits=dict(Counter(order.reason for order in exits)),
        exits_filled=sum(order.state in FILLED or bool(order.filled_qty and _is_paper(order)) for order in exits),
        stops=sum(held.symbol not in found.bare and held.symbol not in lifted for held in still_open),
        unprotected=found.bare,
        orphans=found.orphans,
        budget_used=f"{book.budget_used(context.ledger, context.account, context.session):.2f}",
        differences=differences,
        config_pin=context.ledger.pin,
        audit_head=context.ledger.audit_head(),
        orders=tuple(order_row(order) for order in orders),
        positions=tuple(position_row(held) for held in still_open),
        would_send=len(on_paper),
        halted=halted,
        notes=tuple(context.notes),
    )


def _is_paper(order: LedgerOrder) -> bool:
    return order.state is OrderState.WOULD_SEND


def _reasons(entries: list[LedgerOrder]) -> dict[str, int]:
    return dict(Counter(order.reason for order in entries if order.state is OrderState.DENIED))
