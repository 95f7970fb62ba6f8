"""`kobe account`: the account that Kobe keeps itself, in the stages that use the embedded broker."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from kobe_resources.errors import UsageError
from kobe_resources.settings.load import load_settings
from kobe_resources.settings.secrets import load_secrets

account_app = typer.Typer(help="The embedded broker's account (stages simulated and shadow).", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this area's commands."""
    account_app.command("reset")(reset)
    app.add_typer(account_app, name="account")


def reset(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Begin a fresh embedded account with simulation.initial_cash; the old one is kept, aside.

    The account gets a new number: what the ledger holds of the old one stays there, and is no longer this account's.
    Refused in stages whose account is not Kobe's own, and while another run trades.
    """
    from kobe_jobs.trading.context import open_ledger
    from kobe_jobs.trading.run_lock import alone
    from kobe_resources.broker.open import embedded_folder, reset_embedded

    settings, secrets = load_settings(), load_secrets()
    stage = settings.broker.stage
    folder = embedded_folder(settings, secrets, stage)
    if folder is None:
        raise UsageError(
            f"the account of stage {stage} is kept by {settings.broker.base_url or 'Alpaca'}, not by Kobe",
            "reset it there; `kobe account reset` is for the embedded broker's accounts",
        )
    with open_ledger(settings) as ledger, alone(ledger):
        with ledger.write() as write:
            done = reset_embedded(settings, folder)
            keys = {"stage": stage, "before": done.before, "after": done.after, "kept": str(done.kept)}
            write.audit("account_reset", **keys)
        ledger.copy_audit()
    if as_json:
        typer.echo(json.dumps({**keys, "cash": done.cash}, indent=2))
        return
    console = Console(markup=False, highlight=False, soft_wrap=True)
    console.print(f"account {done.after} begins with ${done.cash:,.2f}")
    console.print(f"{done.before or 'what could not be read'} is kept in {done.kept}")
