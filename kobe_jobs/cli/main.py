"""The console script `kobe`: commands by area, one line on stderr for whatever goes wrong, exit codes 0, 1 and 2."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from kobe_assets.graph.own_code import own_output_on_stderr
from kobe_jobs.cli.commands import (
    account,
    alert,
    audit,
    bars,
    config,
    init,
    kill,
    ops,
    research,
    strategies,
    sweep,
    tomorrow,
    trading,
    universe,
)
from kobe_jobs.cli.examples import add_examples
from kobe_jobs.cli.long_calls import reported_long_calls
from kobe_jobs.cli.screen import say_on_stderr, warn_of
from kobe_resources.errors import KobeError, UsageError, is_interrupt, with_earlier
from kobe_resources.runtime.interrupts import noted_interrupts
from kobe_resources.settings.load import kobe_home, require_clone
from kobe_resources.settings.secrets import key_file_is_open

app = typer.Typer(
    name="kobe",
    help="Raw daily bars in, honest walk-forward evidence out, and a trading job that can prove what it did.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for area in (init, research, strategies, bars, universe, sweep, trading, kill, audit, tomorrow, account, alert, ops, config):
    area.register(app)
add_examples(app)


INTERRUPTED = 130
COLLECT_EVERY = 50_000
"""Objects between two collections of garbage: the hundreds of thousands that imports make are no garbage."""
ORDER_PATH = frozenset({"trade", "reconcile", "replay", "ui"})
"""Commands that wait for another process as long as a scheduled run does: an order may stand, or long work lies behind them."""
PERSON_WAITS_S = 7.0
STOPPED = "stopped; what was finished is kept, run the same command again to go on"
CommandLineError: Any = typer.BadParameter.__mro__[2]
"""What typer raises for any misuse of the command line; it has no public name."""


def main() -> None:
    """Run a command and end the process; an error that Kobe knows ends in one line that names the mend, not in a traceback."""
    gc.set_threshold(COLLECT_EVERY)
    # What a service manager sends ends a command as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _open_closed_streams()
    with noted_interrupts() as was_stopped, reported_long_calls(say_on_stderr), own_output_on_stderr():
        try:
            # Without its standalone mode typer returns the code of `typer.Exit` and of an interrupt instead of raising.
            code = app(prog_name="kobe", standalone_mode=False)
        except KobeError as error:
            _log(error)
            _end(str(error), error.exit_code)
        except (typer.Abort, KeyboardInterrupt):
            _end(STOPPED, INTERRUPTED)
        except CommandLineError as error:
            _end(_misuse(error), 2)
        except _outside() as error:
            what = with_earlier(error, (str(error) or repr(error)).splitlines()[0])
            _log(KobeError(what))
            _end(f"{what}: see that the disk of {kobe_home()} has room and that you may write there", 1)
        except Exception as error:
            if is_interrupt(error) or was_stopped():
                _end(STOPPED, INTERRUPTED)
            fault = _strategy_fault(error)
            if fault is None:
                raise
            _log(fault)
            _end(str(fault), fault.exit_code)
    if code == INTERRUPTED:
        _end(STOPPED, INTERRUPTED)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader, `head` say, has closed the pipe.
        pass
    except OSError as error:
        _end(f"{error}: what was computed is kept, but not all of the output could be written", 1)
    _leave(code if isinstance(code, int) else 0)


def _open_closed_streams() -> None:
    """Write to nowhere where a standard stream was closed (`>&-`).

    Else a file gets its number, and with it what libraries write.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - it stays open


def _misuse(error: Any) -> str:
    """What is wrong with the command line, and whose help says more."""
    said = error.format_message() or "name a command"
    what = said.replace("Value error, ", "").replace(". Did you mean", ", did you mean").rstrip(".?")
    command = error.ctx.command_path if error.ctx else "kobe"
    return f"{what}: see `{command} --help`"


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"kobe {version('kobe')}")
        raise typer.Exit


@app.callback()
def before_every_command(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001  the name of the option; its callback prints
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Raw daily bars in, honest walk-forward evidence out, and a trading job that can prove what it did."""
    if context.invoked_subcommand != "kill":
        # To stop orders must work where settings and folders do not.
        require_clone()
        _refuse_a_file(kobe_home())
    _keep_private()
    if context.invoked_subcommand != "kill":
        _be_patient(context.invoked_subcommand in ORDER_PATH)
    if key_file_is_open():
        warn_of(f"others can read your keys: chmod 600 {os.environ.get('KOBE_ENV_FILE', '')}")


def _refuse_a_file(home: Path) -> None:
    """The data folder, or what it is to stand in, may be no file: every store would say so in words of its own."""
    there = next(place for place in (home, *home.parents) if place.exists())
    if not there.is_dir():
        raise UsageError(f"the data folder {home} cannot be: {there} is a file", "name a folder in KOBE_HOME")


def _keep_private() -> None:
    """Whatever made the folder, and under whatever umask, only its owner reads it; no fault of its disk stops a command."""
    from kobe_resources.runtime.atomic_files import keep_private

    with contextlib.suppress(OSError, KobeError):
        keep_private(kobe_home())


def _be_patient(is_order_path: bool) -> None:
    """How long to wait for a warehouse that another process has open; a terminal shows what is waited for."""
    from kobe_resources.warehouse.store import LOCK_WAIT_S, PATIENCE

    PATIENCE.wait_s = LOCK_WAIT_S if is_order_path else PERSON_WAITS_S
    if sys.stderr.isatty():
        PATIENCE.tell = say_on_stderr


def _outside() -> tuple[type[BaseException], ...]:
    """What the disk raises, through the stores too that Dagster keeps; looked up only where something was raised."""
    stores = (("sqlite3", "Error"), ("sqlalchemy.exc", "DBAPIError"), ("duckdb", "IOException"))
    return (OSError, *(getattr(sys.modules[module], name) for module, name in stores if module in sys.modules))


def _strategy_fault(error: Exception) -> KobeError | None:
    """A fault in a declaration is the person's own: where it stands says more than a traceback through the engine."""
    from kobe_jobs.research_run.strategies import bad_strategy

    return bad_strategy(type(error).__name__, str(error))


def _log(error: KobeError) -> None:
    """Keep the line in the event log of a folder that is there; one that cannot be written, or named, must hide no error."""
    from kobe_resources.runtime.event_log import get_logger

    with contextlib.suppress(OSError, KobeError):
        if kobe_home().is_dir():
            get_logger("cli").error("a command ended in an error", command=" ".join(sys.argv[1:2]), reason=str(error))


def _end(line: str, code: int) -> NoReturn:
    say_on_stderr(line)
    _leave(code)


def _leave(code: int) -> NoReturn:
    """End without taking apart what the libraries made, which takes a second; nor may their threads hold back an exit."""
    logging.shutdown()
    with contextlib.suppress(OSError):
        sys.stderr.flush()
        sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
