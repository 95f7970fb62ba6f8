"""`kobe alert`: send a test message, and say which addresses took it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from kobe_jobs.cli.screen import print_json
from kobe_resources.settings.load import load_settings

alert_app = typer.Typer(help="Messages to the addresses of \\[alerts].", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this area's commands."""
    alert_app.command("test")(send_a_test)
    app.add_typer(alert_app, name="alert")


def send_a_test(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Send a test message to every alert address; exit code 1 where one did not take it. No address is shown."""
    from kobe_jobs.cli.output import output, table_of
    from kobe_resources.alerts import send_test

    found = send_test(load_settings())
    if as_json:
        print_json([asdict(done) for done in found])
    else:
        table = table_of("", "address", "", "answer")
        for done in found:
            table.add_row(done.address, "ok" if done.taken else "FAIL", done.reason)
        output().print(table)
    if not all(done.taken for done in found):
        raise typer.Exit(1)
