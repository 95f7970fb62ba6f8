"""`kobe ui`, `kobe health`, `kobe backup`, `kobe restore`, `kobe units`: running Kobe, and getting it back."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from kobe_resources.settings import key_file_is_open, load_settings


def register(app: typer.Typer) -> None:
    """Add this area's commands."""
    app.command()(ui)


def ui(
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port of the Dagster UI (3000; 0: a free one).")] = None,
    report_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the reports (3070, then the one used last; 0: a free one).")
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Open no browser.")] = False,
) -> None:
    """Serve the Dagster UI with its daemon, and the reports, on this machine only; Ctrl-C stops all of it."""
    from kobe_jobs.commands.config import warn_of_open_key_file
    from kobe_jobs.ui import run_ui

    load_settings()
    if key_file_is_open():
        warn_of_open_key_file()
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print("starting the Dagster UI …", style="dim")
    run_ui(port, report_port, console.print, (lambda url: None) if no_browser else _open_browser)


def _open_browser(url: str) -> None:
    import webbrowser

    webbrowser.open(url)
