"""Preflight lines about what goes on from before, positions of other rules or accounts, and about quotes and the auction."""

from __future__ import annotations

from collections.abc import Collection

from kobe_assets.graph.inputs import canonical_params
from kobe_jobs.research_run.strategies import readable_strategies
from kobe_jobs.trading.bare_positions import still_lifted
from kobe_jobs.trading.context import SessionContext, TradingContext, account_key
from kobe_jobs.trading.moments import RunMoment
from kobe_jobs.trading.roll_forward import rules_of
from kobe_resources.broker.open import embedded_of
from kobe_resources.findings import Finding
from kobe_resources.order_ledger import OrderLedger
from kobe_resources.order_ledger.positions import open_positions
from kobe_resources.settings.models import Settings

COMMON = "SPY"
"""Asked for where nothing is held and nothing signals: every feed has its quote."""


def quotes_finding(context: SessionContext) -> Finding:
    """Whether the data host gives quotes to these keys. Raises NotEntitled with its mend where it does not."""
    held = [position.symbol for position in open_positions(context.ledger, context.account)]
    signals = [signal.symbol for signal in context.snapshot.signals_of(context.signal_session)]
    if embedded_of(context.broker) is not None and not (held or signals):
        return Finding("quotes", True, "the embedded broker quotes the stored bars")
    symbol = next(iter([*held, *signals]), COMMON)
    found = context.broker.quotes([symbol]).get(symbol)
    if found is None:
        return Finding("quotes", False, f"the data host has no quote of {symbol}", "look at broker.feed", blocks=False)
    return Finding("quotes", True, f"{symbol} {found.bid:,.4f} / {found.ask:,.4f}, feed {context.settings.broker.feed}")


def auction_finding(trading: TradingContext) -> Finding:
    """What `execution.entry` means for the hours of runs, and what Alpaca's paper does with auction orders."""
    if trading.settings.execution.entry != "opg":
        return Finding("auction", True, 'execution.entry = "ioc": entries meet the quote after the open')
    hours = (
        "orders for the auction are taken from 19:00 to 09:28 New York, a run after the open resolves and protects them;"
        " what leaves at the same open pays for no entry"
    )
    if trading.stage != "paper":
        return Finding("auction", True, hours)
    seen = "on paper most auction orders expire unfilled: entries are lost, exits leave at the quote after the open"
    return Finding("auction", False, seen, 'to try entries on paper, set execution.entry = "ioc"', blocks=False)


def switching_finding(context: SessionContext) -> Finding:
    """Open positions that the present settings would not have, and by what they leave."""
    lines = switched(context.settings, context.ledger, context.account, [part.strategy.name for part in context.parts])
    known, _ = readable_strategies(context.settings)
    orphans = [held.symbol for held in open_positions(context.ledger, context.account) if held.strategy not in known]
    hint = "nothing to do; they leave one after the other" if lines else ""
    if orphans:
        hint = f"register the strategy of {', '.join(orphans)}, or sell there and `kobe reconcile --accept` with the reason"
    return Finding("switching", not lines, "; ".join(lines) or "every position is of the present rules", hint, blocks=False)


def switched(settings: Settings, ledger: OrderLedger, account: str, trading: Collection[str]) -> list[str]:
    """A text for each open position that the present settings would not have: by what it leaves. trading: strategies' names."""
    known, lines = readable_strategies(settings)[0], []
    for held in open_positions(ledger, account):
        if held.strategy not in known:
            lines.append(
                f"{held.symbol}: its strategy {held.strategy!r} is not registered, it keeps its stop and leaves by no rule"
            )
            continue
        params, lag = rules_of(settings, ledger, held, known[held.strategy])
        now = canonical_params(settings, known[held.strategy])
        changed = [f"{name} {params[name]:g}" for name in sorted(params) if params[name] != now.get(name)]
        changed += [f"lag {lag}"] if lag != settings.strategy.indicator_lag_bars else []
        if changed:
            lines.append(f"{held.symbol} leaves by the rules it was entered with ({held.strategy}: {', '.join(changed)})")
        elif held.strategy not in trading:
            lines.append(f"{held.symbol} belongs to {held.strategy}, which trades no more, and leaves by its rules")
    return lines


def splits_finding(context: SessionContext) -> Finding:
    """Held symbols whose split takes effect at the next open, and whether their stops are lifted for it."""
    is_before = context.moment in (RunMoment.BEFORE_OPEN, RunMoment.SHUT)
    last, coming = (context.signal_session, context.session) if is_before else (context.session, context.next_session)
    lifted = {row.position_id for row in still_lifted(context.ledger, context.account)}
    lines, is_due = [], False
    for held in open_positions(context.ledger, context.account):
        for split in context.snapshot.splits_between(held.symbol, last, coming or context.session):
            what = f"{held.symbol} splits {split.split_to:g}-for-{split.split_from:g} on {split.execution_date}"
            is_due |= held.id not in lifted
            lines.append(f"{what}: its stop {'is gone by then' if held.id in lifted else 'is to be gone by then'}")
    hint = "let a run come before that open: `kobe trade`, or the sensor orders_working" if is_due else ""
    return Finding("splits", not is_due, "; ".join(lines) or "no split of what is held is ahead", hint, blocks=False)


def other_accounts_finding(trading: TradingContext) -> Finding:
    """Open positions in accounts of other stages: this stage's runs do not look after them."""
    lines = held_elsewhere(trading.ledger, account_key(trading.stage, trading.broker.account()))
    hint = "only runs of that stage let them leave: switch back, or sell them at that broker" if lines else ""
    return Finding("other accounts", not lines, "; ".join(lines) or "none holds anything", hint, blocks=False)


def held_elsewhere(ledger: OrderLedger, account: str) -> list[str]:
    """A text for each other account that holds something; a paper book needs nobody to look after it."""
    rows = ledger.rows(
        "SELECT account, group_concat(symbol, ', ') AS symbols FROM positions WHERE is_open = 1 AND account <> ?"
        " AND account NOT LIKE 'shadow:%' GROUP BY account ORDER BY account",
        (account,),
    )
    return [f"{row['account']} holds {row['symbols']}" for row in rows]
