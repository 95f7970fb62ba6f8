"""What happened since the last run, before anything new is decided: splits, bars held, exit flags, intents let go.

Decides exits exactly as rules.md, section 4.4: bar by bar, the indicator as read `lag` bars late.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from kobe_assets.research.strategies import STRATEGIES
from kobe_assets.study import canonical_params
from kobe_jobs.trading.desk import Desk
from kobe_jobs.trading.executor import take_back
from kobe_resources.order_ledger import OrderState, Position
from kobe_resources.order_ledger import intents as book
from kobe_resources.order_ledger.positions import age, flag_for_exit, open_positions, rescale, splits_seen


def apply_splits(desk: Desk) -> int:
    """Rescale positions by the splits that took effect up to the trading session; how many did."""
    applied = 0
    for held in open_positions(desk.ledger, desk.account):
        for split in desk.evidence.splits_between(held.symbol, held.splits_through, desk.day):
            with desk.ledger.write() as write:
                current = next(p for p in open_positions(write, desk.account) if p.id == held.id)
                rescale(write, current, Decimal(repr(split.split_from)), Decimal(repr(split.split_to)), split.execution_date)
            applied += 1
        with desk.ledger.write() as write:
            splits_seen(write, held, desk.day)
    return applied


def age_positions(desk: Desk, through: dt.date | None = None) -> list[Position]:
    """Count the bars since the last run and flag who shall leave; the positions with a flag.

    through: the last session whose bars count (default: the signals' session).
    """
    last = through or desk.signal_session
    for held in open_positions(desk.ledger, desk.account):
        since = held.bars_through or held.entry_session - dt.timedelta(days=1)
        if since >= last:
            continue
        if held.symbol not in desk.evidence.bars:
            # Found at the broker during this run: its bars are counted by the next.
            continue
        bars, flag = _bars_and_flag(desk, held, since, last)
        with desk.ledger.write() as write:
            age(write, held, bars, last, flag)
    return [held for held in open_positions(desk.ledger, desk.account) if held.flag]


def flag_untradable(desk: Desk) -> None:
    """Flag positions whose symbol the broker no longer lists, so that they leave while somebody still bids."""
    for held in open_positions(desk.ledger, desk.account):
        if held.flag == "delisted":
            continue
        asset = desk.broker.asset(held.symbol)
        if asset is not None and asset.status == "active":
            if not asset.tradable:
                desk.note(f"{held.symbol} is not tradable at the moment")
            continue
        desk.note(f"{held.symbol} can no longer be traded at the broker: its position needs a person")
        with desk.ledger.write() as write:
            flag_for_exit(write, held, "delisted")


def let_go(desk: Desk) -> int:
    """Veto intents of earlier sessions that were never sent; their moment has passed. How many."""
    stale = [i for i in book.in_states(desk.ledger, desk.account, [OrderState.INTENT]) if i.session < desk.day]
    return sum(take_back(desk, intent, "session_over") for intent in stale)


def _bars_and_flag(desk: Desk, held: Position, after: dt.date, through: dt.date) -> tuple[int, str | None]:
    bars = desk.evidence.bars[held.symbol]
    lag = desk.settings.strategy.indicator_lag_bars
    # A position leaves by the rules of the strategy that entered it, whichever trades now.
    strategy = STRATEGIES.get(held.strategy, desk.strategy)
    params = canonical_params(desk.settings, strategy)
    wishes = bars.leave_wishes(strategy, params, lag, held.side == "long", after, through)
    for number, wants_out in enumerate(wishes, start=1):
        if wants_out:
            return len(wishes), strategy.leave_reason
        if held.bars_held + number >= int(params["time_stop"]):
            return len(wishes), "time_stop"
    return len(wishes), None
