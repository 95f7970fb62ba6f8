"""`kobe config`: the effective settings, their pin, and the table of every setting. Nothing here prints a secret."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kobe_jobs.cli.screen import Screen, print_json, printable
from kobe_resources.settings.load import config_file, load_settings
from kobe_resources.settings.models import Settings
from kobe_resources.settings.pins import config_pin, research_pin


def register(app: typer.Typer) -> None:
    """Add this area's commands."""
    area = typer.Typer(name="config", help="The effective settings, their SHA-256, and what each means.", no_args_is_help=True)
    area.command()(show)
    area.command()(pin)
    area.command()(docs)
    app.add_typer(area)


def show(as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """Every effective setting and where it comes from; no secrets, only whether each is there."""
    from kobe_jobs.cli.settings_table import effective, secrets_present
    from kobe_jobs.research_run.strategies import refuse_unknown_parameters

    settings = load_settings()
    refuse_unknown_parameters(settings)
    rows = effective(settings)
    if as_json:
        values = {row.key: {"value": row.value, "from": row.source} for row in rows}
        body = {
            "file": _file(),
            "config_pin": config_pin(settings),
            "research_pin": research_pin(settings),
            "secrets": secrets_present(),
            "settings": values,
        }
        print_json(body)
        return
    _print_settings(settings, rows)


def pin(
    research: Annotated[bool, typer.Option("--research", help="Only what the folds stand on.")] = False,
) -> None:
    """The SHA-256 of every setting that can change a number or an order."""
    from kobe_jobs.research_run.strategies import load_account_settings, refuse_unknown_parameters

    settings = load_account_settings()
    refuse_unknown_parameters(settings)
    typer.echo(research_pin(settings) if research else config_pin(settings))


def docs(
    out: Annotated[
        Path | None, typer.Option(help="Write every generated page of the reference into this folder instead: docs, say.")
    ] = None,
) -> None:
    """Every setting with its default and meaning, as Markdown.

    With --out one page each: settings, commands, what --json prints, figures, metrics, tables, and use from Python.
    """
    if out is not None:
        from kobe_jobs.cli.reference.pages import write_pages

        for path in write_pages(out):
            typer.echo(f"written {path}")
        return
    from kobe_jobs.cli.settings_table import markdown

    typer.echo(markdown())


def _file() -> str:
    path = config_file()
    return str(path) if path else "none (built-in defaults)"


def _print_settings(settings: Settings, rows: list[Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    from kobe_jobs.cli.settings_table import secrets_present
    from kobe_resources.settings.load import kobe_home

    table = Table("setting", "value", "from", title=f"file: {_file()} · data folder: {kobe_home()}", title_justify="left")
    section = ""
    for row in rows:
        if row.section != section:
            table.add_section()
            section = row.section
        table.add_row(row.key, Text(printable(row.shown), style="bold" if row.source != "default" else ""), row.source)
    console = Screen()
    console.print(table)
    for name, is_there in secrets_present().items():
        console.print(Text(f"{name}: {'set' if is_there else 'not set'}"))
    console.say(f"config pin {config_pin(settings)}")
