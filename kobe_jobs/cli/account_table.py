"""The account as tables in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kobe_assets.report.analysis.metrics_glossary import minus, show
from kobe_jobs.cli.output import output, shares_text, table_of
from kobe_jobs.cli.screen import Screen
from kobe_jobs.trading.daily_budget import budget_words

if TYPE_CHECKING:
    from kobe_jobs.trading.account import AccountView
    from kobe_resources.findings import Finding

FILLS = 10


def show_account(view: AccountView, simulated: Sequence[float] | None, health: Sequence[Finding] = ()) -> None:
    """Print the account; simulated: the simulation's worth at the same closes, None where it was not computed."""
    console = output()
    console.say(f"{view.strategy}, stage {view.stage}, account {view.number or 'none yet'}", style="bold")
    console.say(f"at the close of {view.as_of}", style="dim")
    _money(console, view, simulated)
    _positions(console, view)
    for note in view.notes:
        console.say(f"note: {note}")
    _orders(console, view)
    _fills(console, view)
    switch = view.kill_switch
    console.say(f"kill switch on: {switch['reason']}" if switch["on"] else "kill switch off")
    seen = view.reconciliation
    line = "not yet compared with the broker"
    if seen is not None:
        verdict = "ledger and broker agreed" if seen["agrees"] else "ledger and broker differed: `kobe reconcile`"
        line = f"{verdict}, {seen['at'][:16].replace('T', ' ')} UTC"
    console.say(line)
    next_run = view.tomorrow
    if next_run is not None:
        leaving, entering = len(next_run["exits"]), len(next_run["entries"])
        orders, exits = "order" if entering == 1 else "orders", "exit" if leaving == 1 else "exits"
        console.say(f"next run, {next_run['session']}: {entering} {orders}, {leaving} {exits}; `kobe tomorrow`")
        for note in next_run["notes"]:
            console.say(f"note: {note}")
    failing = [check for check in health if not check.ok]
    for check in failing:
        console.say(f"health: {check.name.replace('_', ' ')}: {check.seen}")
    if health and not failing:
        console.say(f"health: all {len(health)} checks hold")


def _money(console: Screen, view: AccountView, simulated: Sequence[float] | None) -> None:
    table = table_of("", "", "")
    since = f" since {view.started}" if view.started else ""
    table.add_row("equity", show(view.equity, "cents"))
    table.add_row(f"P&L{since}", f"{show(view.pnl, 'gain')} ({show(view.pnl / view.start_cash, 'change')})")
    table.add_row("P&L of the last session", show(view.pnl_today, "gain"))
    if simulated:
        ahead = show(view.equity - simulated[-1], "gain")
        table.add_row("the simulation", f"{show(simulated[-1], 'cents')} ({ahead} against it)")
    table.add_row("cash" if view.reconciliation is None else "cash at the broker", show(view.cash, "cents"))
    budget = budget_words(view.budget, view.budget_share)
    table.add_row(f"budget used {view.last_session or ''}".strip(), f"${view.budget_used:,.2f} {budget}")
    for reason, count in view.refused.items():
        table.add_row(f"refused: {reason.replace('_', ' ')}", show(count, "count"))
    console.print(table)


def _positions(console: Screen, view: AccountView) -> None:
    if not view.positions:
        console.say("no position is open")
        return
    table = table_of(
        "Positions", "symbol", "side", "shares", "since", "entry", "close", "stop", "P&L", "P&L, %", "bars", "leaves"
    )
    for held in view.positions:
        table.add_row(
            held.symbol, held.side, shares_text(held.shares), held.entry_session, f"{held.entry:,.2f}", f"{held.close:,.2f}",
            f"{held.stop:,.2f}", show(held.pnl, "gain"), show(held.pnl_share, "change"), str(held.bars_held),
            held.next_exit,
        )  # fmt: skip
    console.print(table)


def _orders(console: Screen, view: AccountView) -> None:
    if not view.working:
        return
    table = table_of("Working orders", "symbol", "side", "for", "order", "shares", "price", "state", "since")
    for row in view.working:
        price = "" if row.price is None else f"{row.price:,.2f}"
        table.add_row(row.symbol, row.side, row.purpose, row.kind, shares_text(row.shares), price, row.state, row.session)
    console.print(table)


def _fills(console: Screen, view: AccountView) -> None:
    if not view.fills:
        return
    table = table_of("Last fills", "session", "symbol", "side", "for", "shares", "price", "open or stop", "slippage, bps")
    for row in view.fills[:FILLS]:
        reference = "" if row.reference is None else f"{row.reference:,.2f}"
        slipped = "" if row.slippage_bps is None else minus(f"{row.slippage_bps:+.1f}")
        table.add_row(
            row.session, row.symbol, row.side, row.purpose, shares_text(row.shares), f"{row.price:,.2f}", reference, slipped
        )  # fmt: skip
    console.print(table)
