"""`kobe account`: the account as one can see it; `kobe account reset` begins the embedded broker's anew."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer

from kobe_jobs.cli.kept_warehouse import keeps_warehouse_open
from kobe_jobs.cli.screen import Screen, print_json
from kobe_resources.errors import UsageError
from kobe_resources.settings.load import load_settings
from kobe_resources.settings.secrets import load_secrets

HEALTH_LIMIT_S = 5.0
account_app = typer.Typer(invoke_without_command=True)


def register(app: typer.Typer) -> None:
    """Add this area's commands."""
    account_app.callback()(account)
    account_app.command("reset")(reset)
    app.add_typer(account_app, name="account")


@keeps_warehouse_open
def account(
    context: typer.Context,
    without_simulation: Annotated[
        bool, typer.Option("--without-simulation", help="Leave out what the simulation would be worth, which takes longest.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the account: positions with stop and next exit, working orders, budget, P&L against the simulation, fills, health.

    From the ledger and the stored bars; no key is needed, and no broker is asked but by the health checks of paper and live.
    `kobe ui` serves the same as a page.
    """
    if context.invoked_subcommand is not None:
        return
    from kobe_jobs.cli.account_table import show_account
    from kobe_jobs.ops.health.checks import Watch, questions
    from kobe_jobs.trading.account import look_at_account, simulated_curve
    from kobe_jobs.trading.on_record import ledger_to_look_at, warehouse_to_look_at

    # No strategy is asked for: what is held shows though its file is gone.
    settings = load_settings()
    warehouse = warehouse_to_look_at(settings=settings)
    with ledger_to_look_at() as ledger:
        view = look_at_account(settings, ledger, warehouse)
    simulated = None
    if view.started is not None and not without_simulation:
        days = dt.date.fromisoformat(view.started), dt.date.fromisoformat(view.as_of)
        simulated = simulated_curve(settings, warehouse, *days)
    # The account is shown without what does not answer in time.
    health = Watch(questions(settings), limit_s=HEALTH_LIMIT_S).look()
    if as_json:
        checks = [{"name": c.name, "ok": c.ok, "blocks": c.blocks, "seen": c.seen} for c in health]
        print_json({**view.as_json(), "simulated": simulated, "health": checks})
    else:
        show_account(view, simulated, health)


def reset(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Begin a fresh embedded account with simulation.initial_cash; the old one is kept, aside.

    The account gets a new number: what the ledger holds of the old one stays there, and is no longer this account's.
    Refused in stages whose account is not Kobe's own, and while another run trades.
    """
    from kobe_jobs.trading.context import open_ledger
    from kobe_jobs.trading.run_lock import trading_lock
    from kobe_resources.broker.open import embedded_folder, reset_embedded

    settings, secrets = load_settings(), load_secrets()
    stage = settings.broker.stage
    folder = embedded_folder(settings, secrets, stage)
    if folder is None:
        raise UsageError(
            f"the account of stage {stage} is kept by {settings.broker.base_url or 'Alpaca'}, not by Kobe",
            "reset it there; `kobe account reset` is for the embedded broker's accounts",
        )
    with open_ledger(settings) as ledger, trading_lock(ledger):
        with ledger.write() as write:
            done = reset_embedded(settings, folder)
            keys = {"stage": stage, "before": done.before, "after": done.after, "kept": str(done.kept)}
            write.audit("account_reset", **keys)
        ledger.copy_audit()
    if as_json:
        print_json({**keys, "cash": done.cash})
        return
    console = Screen(highlight=False, soft_wrap=True)
    console.say(f"account {done.after} begins with ${done.cash:,.2f}")
    console.say(f"{done.before or 'what could not be read'} is kept in {done.kept}")
