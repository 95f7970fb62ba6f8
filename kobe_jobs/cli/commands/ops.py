"""`kobe ui`, `kobe health`, `kobe backup`, `kobe restore`, `kobe units`: running Kobe, and getting it back."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kobe_jobs.cli.screen import Screen, print_json, warn_of
from kobe_resources.errors import KobeError, UsageError
from kobe_resources.settings.load import kobe_home, load_settings
from kobe_resources.settings.models import Settings

if TYPE_CHECKING:
    from kobe_jobs.ops.health.checks import Watch
    from kobe_resources.findings import Finding

ACCOUNT_KEPT_S = 30.0


def register(app: typer.Typer) -> None:
    """Add this area's commands."""
    app.command()(ui)
    app.command()(health)
    app.command()(backup)
    app.command()(restore)
    app.command()(units)


def ui(
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port of the Dagster UI (3000; 0: a free one).")] = None,
    report_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the reports (3070, then the one used last; 0: a free one).")
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Open no browser.")] = False,
) -> None:
    """Serve the Dagster UI with its daemon, and the reports, on this machine only; Ctrl-C stops all of it."""
    from kobe_jobs.ops.ui.server import run_ui

    load_settings()
    console = _plain()
    console.say("starting the Dagster UI", style="dim")
    run_ui(port, report_port, console.print, (lambda url: None) if no_browser else _open_browser)


def _open_browser(url: str) -> None:
    import webbrowser

    webbrowser.open(url)


def health(
    serve: Annotated[bool, typer.Option("--serve", help="Serve /liveness, /readiness and /metrics until stopped.")] = False,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="With --serve: the port (3071; 0: a free one).")] = None,
    host: Annotated[str, typer.Option(help="With --serve: the address to listen on.")] = "127.0.0.1",
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Say whether everything is ready, and why not: exit 1 when a check that blocks fails."""
    from kobe_jobs.ops.health.checks import Watch, questions
    from kobe_resources.findings import is_ready

    settings = load_settings()
    watch = Watch(questions(settings))
    if serve:
        _serve_health(settings, watch, host, port)
        return
    checks = watch.look()
    if as_json:
        from kobe_jobs.ops.health.server import as_json as plain

        print_json(plain(checks))
    else:
        _print_checks(checks)
    if not is_ready(checks):
        raise typer.Exit(1)


def backup(
    target: Annotated[
        Path | None, typer.Argument(help="Archive to be, or folder for it. Default: beside the data folder.")
    ] = None,
    keep: Annotated[int | None, typer.Option(min=1, help="Leave only this many archives in the folder, the newest.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Archive the data folder, consistent while others write, with a SHA-256 of every file; read back before it counts."""
    from kobe_jobs.ops.backup.make import make_backup

    made = make_backup(kobe_home(), target, keep)
    if as_json:
        body = {"path": str(made.path), "files": made.files, "bytes": made.size, "audit_problem": made.audit_problem}
        print_json(body)
    else:
        _plain().print(f"backed up {made.files} files, {made.size / 1e6:,.1f} MB: {made.path}")
        for path in made.removed:
            _plain().print(f"removed the older {path}", style="dim")
    _warn_of_audit(made.audit_problem)


def restore(
    archive: Annotated[
        Path | None, typer.Argument(help="An archive of `kobe backup`; without it, the newest is named.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Move a data folder that is not empty aside first.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was restored as JSON.")] = False,
) -> None:
    """Bring back a data folder, every byte checked before anything is touched; with orders in it, the kill switch is on."""
    from kobe_jobs.ops.backup.archive import ArchiveRefused
    from kobe_jobs.ops.backup.make import newest_archive
    from kobe_jobs.ops.backup.restore import restore as restore_archive

    if archive is None or not archive.is_file():
        newest = newest_archive(kobe_home())
        mend = f"`kobe restore {shlex.quote(str(newest))}` is the newest" if newest else "name an archive of `kobe backup`"
        if archive is None:
            raise UsageError("no archive is named", mend)
        raise ArchiveRefused(f"{archive} is no file", mend)
    result = restore_archive(archive, kobe_home(), force)
    if as_json:
        body = {"folder": kobe_home(), "files": result.files, "created": result.created, "moved_aside": result.aside}
        print_json({**body, "kill_switch_on": bool(result.orders), "audit_problem": result.audit_problem})
        _warn_of_audit(result.audit_problem)
        return
    console = _plain()
    console.say(f"restored {result.files} files of {result.created} to {kobe_home()}")
    if result.aside:
        console.say(f"the folder that was there is now {result.aside}")
    if result.orders:
        console.say(
            "the kill switch is on: `kobe reconcile` shows how ledger and broker differ; then `kobe kill off`, and"
            ' `kobe reconcile --accept "restored"`'
        )
    _warn_of_audit(result.audit_problem)


def units(
    user: Annotated[str, typer.Option(help="The account that is to run Kobe.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write the files to, /etc/systemd/system say; default: print them.")
    ] = None,
) -> None:
    """Print systemd units for the UI with daemon, the health server and a nightly backup, with this machine's paths."""
    from kobe_jobs.ops.units import rendered_units

    for name, text in rendered_units(user).items():
        if out is None:
            typer.echo(f"# {name}\n{text}")
            continue
        try:
            out.mkdir(parents=True, exist_ok=True)
            (out / name).write_text(text, encoding="utf-8")
        except OSError as error:
            raise KobeError(f"{out / name} cannot be written ({error.strerror})", "name a folder that you may write") from error
        _plain().print(f"written {out / name}")


def _warn_of_audit(problem: str) -> None:
    if problem:
        warn_of(f"the audit chain in it does not verify: {problem}")


def _plain() -> Screen:
    return Screen(highlight=False, soft_wrap=True)


def _serve_health(settings: Settings, watch: Watch, host: str, port: int | None) -> None:
    from importlib.metadata import version

    from kobe_jobs.ops.health.checks import Watch, account_question
    from kobe_jobs.ops.health.server import DEFAULT_PORT, health_app
    from kobe_jobs.ops.health.watchman import watching
    from kobe_jobs.ops.ui.signals import stop_signals
    from kobe_resources.runtime.report_site import LOOPBACK, listen_on, serving
    from kobe_resources.settings.pins import config_pin

    listener = listen_on(DEFAULT_PORT if port is None else port, "name another with --port", host)
    bound = listener.getsockname()[1]
    is_local = host == LOOPBACK
    console = _plain()
    if not is_local:
        warn_of(f"everybody who reaches {host} can read these answers")
    labels = {"version": version("kobe"), "stage": settings.broker.stage, "config_pin": config_pin(settings)}
    account = Watch([account_question(settings)], keep_s=ACCOUNT_KEPT_S)
    app = health_app(watch, [LOOPBACK, "localhost"] if is_local else ["*"], labels, account)
    with stop_signals() as stop, serving(app, listener), watching(settings):
        console.say(f"health http://{host}:{bound}/readiness · metrics http://{host}:{bound}/metrics · Ctrl-C stops")
        stop.wait()


def _print_checks(checks: Sequence[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("check", "", "reason", "s", box=None, pad_edge=False)
    for check in checks:
        word, style = ("ok", "green") if check.ok else ("FAIL", "bold red") if check.blocks else ("warn", "yellow")
        table.add_row(check.name, Text(word, style=style), check.seen, f"{check.seconds:.2f}")
    Screen().print(table)
