"""What happened since the last run, before anything new is decided: splits, bars held, exit flags, orders that expire.

Decides exits exactly as rules.md, section 4: bar by bar, the indicator as read `lag` bars late. What the simulation closes at
the mark before a suspect bar leaves at the next open, the first that a market can give; a replay closes it at the mark.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from decimal import Decimal

import numpy as np

from kobe_assets.graph.inputs import canonical_params
from kobe_assets.graph.own_strategies import strategies_of
from kobe_assets.research.panel import LISTING_GAP
from kobe_assets.research.strategies import Strategy, StrategyFault
from kobe_jobs.trading.bare_positions import ask_broker_state
from kobe_jobs.trading.context import SessionContext
from kobe_jobs.trading.executor import cancel_unsent
from kobe_jobs.trading.market_snapshot import Split
from kobe_jobs.trading.moments import RunMoment
from kobe_resources.order_ledger import OrderLedger, OrderState, Position
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import (
    UNLISTED,
    age,
    applied_splits,
    flag_for_exit,
    open_positions,
    position,
    rescale,
)
from kobe_resources.settings.models import Settings

SUSPECT = "suspect"
"""The reason of an exit behind a bar that would bring a profit and is doubted: a split left out, a misprint."""
SAME_SPLIT_DAYS = 5
"""A vendor may move a split's date by a few days; of the same ratio it is the same split."""
SESSIONS_BEFORE_ASKING = 2
UNLISTED_STATUS = "inactive"
"""What the broker says of a symbol that it lists no more."""


def apply_splits(context: SessionContext) -> int:
    """Rescale positions by the splits that took effect up to the trading session and were not applied yet; how many did.

    While the market is shut those of the open to come count when the broker has booked them.
    """
    applied = 0
    find_booked(context)
    for held in open_positions(context.ledger, context.account):
        for split in pending_splits(context, held):
            with context.ledger.write() as write:
                current = position(write, held.id)
                if current is not None:
                    rescale(
                        write, current, Decimal(repr(split.split_from)), Decimal(repr(split.split_to)), split.execution_date
                    )
            applied += 1
    return applied


def pending_splits(context: SessionContext, held: Position) -> list[Split]:
    """Splits since a position's entry that it was not rescaled by, oldest first: also those that the files bring late."""
    names = context.snapshot.names_of(held.symbol, held.entry_session, context.session)
    through = context.booked.get(held.symbol, context.splits_through)
    known = [split for name in names for split in context.snapshot.splits_between(name, held.entry_session, through)]
    return _not_applied(context, held, known) if known else []


def _not_applied(context: SessionContext, held: Position, known: list[Split]) -> list[Split]:
    applied = applied_splits(context.ledger, held.id)
    pending: list[Split] = []
    for split in sorted(known, key=lambda split: split.execution_date):
        # A vendor may name it under the old symbol and under the new one.
        lived = applied + [(other.execution_date, ratio_of(other)) for other in pending if other.symbol != split.symbol]
        if not any(_is_same(split, executed, ratio) for executed, ratio in lived):
            pending.append(split)
    return pending


def find_booked(context: SessionContext) -> None:
    """Keep in the context through which day the broker has booked the splits of what is held, where one comes with the open.

    It books a split some time between the close and the open; until then both sides hold the old shares.
    """
    context.booked = {}
    if not context.sends or context.ledger.disposable:
        return
    coming = [(held, ahead) for held in open_positions(context.ledger, context.account) if (ahead := _comes(context, held))]
    if not coming:
        return
    there = ask_broker_state(context.broker, context.ledger, context.account)
    for held, (before, through, splits) in coming:
        old, new = _rescaled(held, [split for split in splits if split.execution_date <= before]), _rescaled(held, splits)
        if there.holds(old) is not there.holds(new):
            context.booked[held.symbol] = through if there.holds(new) else before
            if there.holds(old) and context.splits_through > before:
                context.note(f"the broker has not booked the split of {held.symbol} yet: a run after the open follows it")


def _comes(context: SessionContext, held: Position) -> tuple[dt.date, dt.date, list[Split]] | None:
    """(the last session before the open to come, its session, the splits of a position through it that were not applied);
    None while the market is open, and without a split at that open."""
    if context.today is None or context.moment is RunMoment.OPEN:
        return None
    is_over = context.moment is RunMoment.AFTER_CLOSE
    before, through = (context.session, context.next_session) if is_over else (context.signal_session, context.session)
    if through is None:
        return None
    names = context.snapshot.names_of(held.symbol, held.entry_session, through)
    known = [split for name in names for split in context.snapshot.splits_between(name, held.entry_session, through)]
    splits = _not_applied(context, held, known) if any(split.execution_date > before for split in known) else []
    return (before, through, splits) if any(split.execution_date > before for split in splits) else None


def as_split(context: SessionContext, held: Position) -> Position:
    """The position as it will be once its pending splits are applied; nothing is written."""
    return _rescaled(held, pending_splits(context, held))


def _rescaled(held: Position, splits: list[Split]) -> Position:
    for split in splits:
        ratio = ratio_of(split)
        held = dataclasses.replace(
            held, qty=held.qty * ratio, stop_price=held.stop_price / ratio, split_factor=held.split_factor * ratio
        )  # fmt: skip
    return held


def _is_same(split: Split, executed: dt.date, ratio: Decimal) -> bool:
    near = abs((split.execution_date - executed).days) <= SAME_SPLIT_DAYS
    return near and abs(ratio_of(split) / ratio - 1) < Decimal("1e-9")


def ratio_of(split: Split) -> Decimal:
    """Shares after the split for one before it."""
    return Decimal(repr(split.split_to)) / Decimal(repr(split.split_from))


def age_positions(context: SessionContext) -> list[Position]:
    """Count the bars that positions were held and flag those whose exit is due; the flagged positions.

    Every stored bar since the entry counts, one that came late too. A position whose strategy is not registered, or cannot
    be asked, is named and keeps its stop: no other strategy's rules fit it.
    """
    last, known = context.signal_session, strategies_of(context.settings)
    faults: dict[str, list[str]] = {}
    for held in open_positions(context.ledger, context.account):
        if held.strategy not in known:
            context.note(
                f"{held.symbol} belongs to the strategy {held.strategy!r}, which is not registered: it keeps its stop and"
                " leaves by no rule; register it, or sell at the broker and `kobe reconcile --accept` with the reason"
            )
        if held.entry_session > last or held.symbol not in context.snapshot.bars:
            # Found at the broker during this run: its bars are counted by the next.
            continue
        try:
            bars, flag = _bars_and_flag(context, held, last, known.get(held.strategy))
        except StrategyFault as fault:
            # A file that was changed since the entry: what other strategies hold leaves all the same.
            faults.setdefault(str(fault), []).append(held.symbol)
            continue
        if (bars, last) == (held.bars_held, held.bars_through) and (flag is None or held.flag):
            continue
        with context.ledger.write() as write:
            age(write, held, bars, last, flag)
    for fault_text, symbols in faults.items():
        context.trouble(
            f"no rule to leave by, the stop stays: {', '.join(symbols)}; with the parameters of the entry {fault_text}"
        )
    return [held for held in open_positions(context.ledger, context.account) if held.flag]


def name_without_bars(context: SessionContext) -> str:
    """Note the held stocks that have no recent bar; what a person has to look at, empty while nothing is late for long.

    A missing bar of the last session is noted. From the second on a person is asked, and after more than ten, when
    the listing is over, the position is flagged for exit.
    """
    asked = []
    for held in open_positions(context.ledger, context.account):
        missing = _sessions_without_bar(context, held)
        if not missing:
            continue
        sessions = "1 session" if len(missing) == 1 else f"{len(missing)} sessions"
        text = f"{held.symbol} is held and has no bar for {sessions}, since {missing[0]}"
        context.note(f"{text}: it cannot be aged; was it renamed, delisted, or dropped from the files?")
        if len(missing) < SESSIONS_BEFORE_ASKING or context.ledger.disposable:
            continue
        asked.append(text)
        if len(missing) > LISTING_GAP and not held.flag:
            with context.ledger.write() as write:
                flag_for_exit(write, held, UNLISTED)
    return "; ".join(asked)


def flag_untradable(context: SessionContext) -> None:
    """Flag positions whose symbol the broker no longer lists, and keep which symbols it takes no order for.

    The flag sells them once it takes orders again.
    """
    for held in open_positions(context.ledger, context.account):
        asset = context.broker.asset(held.symbol)
        if asset is not None and asset.status != UNLISTED_STATUS:
            if asset.status != "active":
                # What is not understood is no reason to sell.
                context.note(f"the broker lists {held.symbol} as {asset.status or 'nothing'!r}, which Kobe does not know")
            elif not asset.tradable:
                context.untradable.add(held.symbol)
                context.note(f"{held.symbol} is not tradable at the moment")
            continue
        context.untradable.add(held.symbol)
        context.note(f"{held.symbol} can no longer be traded at the broker: its position needs a person")
        if held.flag != UNLISTED:
            with context.ledger.write() as write:
                flag_for_exit(write, held, UNLISTED)


def expire(context: SessionContext) -> int:
    """End the orders of earlier sessions that were never sent, because an entry is good for its session only; how many."""
    stale = [i for i in book.in_states(context.ledger, context.account, [OrderState.PLANNED]) if i.session < context.session]
    return sum(cancel_unsent(context, order, "session_over") for order in stale)


def _sessions_without_bar(context: SessionContext, held: Position) -> list[dt.date]:
    """The stored sessions since a position's last bar (since its entry, where it has none), the signals' session included."""
    if held.entry_session > context.signal_session:
        return []
    sessions = context.snapshot.sessions
    first = np.datetime64(held.entry_session)
    if held.symbol in context.snapshot.bars:
        days = context.snapshot.bars[held.symbol].session
        seen = days[(days >= first) & (days <= np.datetime64(context.signal_session))]
        first = seen[-1] + np.timedelta64(1, "D") if len(seen) else first
    missing: list[dt.date] = sessions[(sessions >= first) & (sessions <= np.datetime64(context.signal_session))].tolist()
    return missing


def rules_of(settings: Settings, ledger: OrderLedger, held: Position, strategy: Strategy) -> tuple[dict[str, float], int]:
    """(parameters, lag in bars) that a position leaves by: those that it was entered with, whatever the settings say now."""
    entry = book.find(ledger, held.id)
    kept = entry.decision.get("rules") if entry is not None else None
    if kept:
        return {name: float(value) for name, value in kept["params"].items()}, int(kept["lag"])
    # Entered by an earlier Kobe, which kept no rules.
    return canonical_params(settings, strategy), settings.strategy.indicator_lag_bars


def name_odd_stops(context: SessionContext) -> None:
    """Say where a stop filled on the day a split of its symbol took effect: its price may have been one of other shares."""
    rows = context.ledger.rows(
        "SELECT DISTINCT f.symbol, f.session FROM fills f JOIN intents i USING (client_order_id)"
        " WHERE f.account = ? AND i.leg LIKE 'stop%' AND f.session IN (?, ?)",
        (context.account, context.session.isoformat(), context.signal_session.isoformat()),
    )
    for row in rows:
        day = dt.date.fromisoformat(row["session"])
        for split in context.snapshot.splits_between(row["symbol"], day - dt.timedelta(days=1), day):
            context.note(
                f"suspicious: the stop of {row['symbol']} filled on {day}, the day of its {split.split_to:g}-for-"
                f"{split.split_from:g} split; compare its price with the market's, and ask the broker"
            )


def _bars_and_flag(
    context: SessionContext, held: Position, through: dt.date, strategy: Strategy | None
) -> tuple[int, str | None]:
    """Bars held through a session, and the reason of the first exit signal among them.

    Never fewer than were counted before: under a symbol that is new the bars before the change may be missing.
    """
    bars = context.snapshot.bars[held.symbol]
    after = held.entry_session - dt.timedelta(days=1)
    counted = bars.count(after, through)
    if strategy is None:
        return max(counted, held.bars_held), None
    before = max(held.bars_held - counted, 0)
    params, lag = rules_of(context.settings, context.ledger, held, strategy)
    exits = bars.exit_signals(strategy, params, lag, held.side == "long", after, through)
    entry = float(held.entry_price * held.split_factor) * context.snapshot.factor(held.symbol, held.entry_session)
    doubts = bars.doubted_gains(held.side == "long", entry, after, through)
    is_released = held.symbol in context.settings.universe.release
    for number, (is_exit, is_doubted) in enumerate(zip(exits, doubts, strict=True), start=1 + before):
        if is_doubted and not is_released:
            return counted + before, SUSPECT
        if is_exit:
            return counted + before, strategy.leave_reason
        if number >= params.get("time_stop", math.inf):
            return counted + before, "time_stop"
    return counted + before, None
