"""`kobe kill`: the kill switch of the data folder, on, off, and how it stands."""

from __future__ import annotations

import contextlib
from typing import Annotated, Any

import typer

from kobe_jobs.cli.output import output
from kobe_jobs.cli.screen import print_json, warn_of
from kobe_resources.errors import KobeError, UsageError
from kobe_resources.settings.load import data_folders, load_settings

kill_app = typer.Typer(
    help="The kill switch: while it is on, nothing is sent but cancels, and stops in the place of one that a run had lifted.",
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Add this area's commands."""
    kill_app.command("on")(on)
    kill_app.command("off")(off)
    kill_app.command("status")(status)
    app.add_typer(kill_app, name="kill")


def on(reason: Annotated[str, typer.Argument(help="Why.")] = "no reason given") -> None:
    """Stop every order but cancels, and stops in the place of one that a run had lifted.

    At once, and for every process on this data folder.
    """
    from kobe_resources.kill_switch import KillSwitch, KillSwitchStuck

    # The settings that trade may lie in another folder, or be broken: every data folder of the clone stops.
    paths = [folder / "KILL_SWITCH" for folder in data_folders()]
    try:
        paths.insert(0, KillSwitch().path)
    except UsageError:
        if not paths:
            raise
    switched, stuck = None, []
    for path in dict.fromkeys(paths):
        try:
            switched = KillSwitch(path).turn_on(reason)
        except KillSwitchStuck as error:
            # One folder that cannot be written must not leave the next one trading.
            stuck.append(error)
            continue
        output().say(f"the kill switch is on: {switched.reason}\nwritten to {path}")
    for other in stuck[1:]:
        warn_of(str(other))
    if switched:
        try:
            _record("kill_on", reason=reason, by=switched.by)
        except KobeError:
            # A switch that is stuck is told before a chain that is, as in the same folder.
            if not stuck:
                raise
        _alert_of_switch(f"the kill switch is on: {reason}", switched.by, switched.at)
    if stuck:
        raise stuck[0]


def off() -> None:
    """Let orders pass again."""
    from kobe_resources.kill_switch import KillSwitch

    switch = KillSwitch()
    before = switch.status()
    switch.turn_off(before)
    after = switch.status()
    if after.is_on:
        raise KobeError("the kill switch is still on", f"remove {switch.path} by hand")
    output().say("the kill switch is off")
    for folder in data_folders():
        if folder != switch.path.parent and KillSwitch(folder / "KILL_SWITCH").status().is_on:
            output().say(f"it is still on in {folder}")
    if before.is_on:
        _record("kill_off", was=before.reason)
        _alert_of_switch(f"the kill switch is off again; it was on for: {before.reason}", before.by, before.at, is_good=True)


def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say whether the switch is on, since when, and why."""
    from kobe_resources.kill_switch import KillSwitch

    found = KillSwitch().status()
    if as_json:
        print_json({"on": found.is_on, "reason": found.reason, "by": found.by, "at": found.at})
    else:
        output().say(found.description)


def _record(kind: str, **body: Any) -> None:
    """Put a turn of the switch on the chain; the switch itself works without."""
    from kobe_jobs.trading.switch_record import record_switch

    warn_of(record_switch(load_settings(), kind, **body))


def _alert_of_switch(what: str, by: str, at: str, is_good: bool = False) -> None:
    """Alert on a turn of the switch; settings that cannot be read must not hide that it was turned."""
    from kobe_jobs.trading.reporting.alerts import alert

    with contextlib.suppress(KobeError):
        alert(load_settings(), what, ("kill",), key=f"{what}|{at}", is_good=is_good, by=by, since=at)
