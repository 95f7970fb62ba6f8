"""`kobe tomorrow`: what the next run would send."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated

import typer

from kobe_jobs.cli.dates import FORM, parse_day
from kobe_jobs.cli.kept_warehouse import keeps_warehouse_open
from kobe_jobs.cli.screen import print_json

if TYPE_CHECKING:
    from kobe_jobs.trading.tomorrow import Tomorrow


def register(app: typer.Typer) -> None:
    """Add this area's commands."""
    app.command()(tomorrow)


@keeps_warehouse_open
def tomorrow(
    session: Annotated[
        dt.date | None, typer.Option(parser=parse_day, metavar=FORM, help="Another session than the next run's.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the orders that the next run would send, what leaves and why, and what the policy gate refuses; sends nothing.

    No key is needed. Sizes are the gate's own, at the last closes; the open, and the broker's word on a symbol, come with
    the morning.
    """
    from kobe_jobs.research_run.strategies import load_trading_settings
    from kobe_jobs.trading.on_record import ledger_to_look_at, warehouse_to_look_at
    from kobe_jobs.trading.tomorrow import orders_of_tomorrow

    settings = load_trading_settings()
    with ledger_to_look_at() as ledger:
        found = orders_of_tomorrow(settings, ledger, warehouse_to_look_at(settings=settings), session)
    if as_json:
        print_json(found.as_json())
    else:
        _show(found)


def _show(found: Tomorrow) -> None:
    from kobe_assets.report.analysis.metrics_glossary import show
    from kobe_jobs.cli.output import output, shares_text, table_of
    from kobe_jobs.trading.daily_budget import budget_words
    from kobe_jobs.trading.tomorrow import in_words

    console = output()
    console.print(
        f"{found.strategy} on {found.session}, stage {found.stage}, on the signals of {found.signal_session}",
        style="bold", highlight=False,
    )  # fmt: skip
    if found.entries:
        table = table_of("Would be sent", "symbol", "strategy", "side", "shares", "limit", "stop", "dollars", "order")
        for e in found.entries:
            stop = "none" if e.stop is None else f"{e.stop:,.2f}"
            table.add_row(
                e.symbol, e.strategy, e.side, shares_text(e.shares), f"{e.limit:,.2f}", stop, f"{e.dollars:,.2f}", e.kind
            )  # fmt: skip
        console.print(table)
    if found.exits:
        table = table_of("Would leave", "symbol", "strategy", "side", "shares", "why", "last close", "P&L", "bars held")
        for x in found.exits:
            table.add_row(
                x.symbol, x.strategy, x.side, shares_text(x.shares), in_words(x.reason), f"{x.price:,.2f}",
                show(x.pnl, "gain"), str(x.bars_held),
            )  # fmt: skip
        console.print(table)
    if found.refused:
        table = table_of("Refused by the gate", "symbol", "strategy", "side", "why")
        for r in found.refused:
            table.add_row(r.symbol, r.strategy, r.side, in_words(r.reason))
        console.print(table)
    if not (found.entries or found.exits):
        console.say("nothing to send")
    budget = budget_words(found.budget, found.budget_share)
    console.say(f"${found.dollars:,.2f} {budget}, ${found.cash:,.2f} of cash{' after the exits' * bool(found.exits)}")
    for note in found.notes:
        console.say(f"note: {note}")
