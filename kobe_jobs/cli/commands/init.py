"""`kobe init`: the first kobe.toml, from a look at where bars come from."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from kobe_jobs.cli.screen import Screen, print_json
from kobe_resources.errors import KobeError, UsageError
from kobe_resources.settings.load import kobe_home
from kobe_resources.settings.models import Settings

if TYPE_CHECKING:
    from kobe_jobs.cli.first_settings.market_look import MarketLook
    from kobe_jobs.cli.first_settings.vendor_look import VendorLook
    from kobe_resources.settings.secrets import Secrets

Source = Literal["sample", "files", "alpaca", "polygon"]
Stage = Literal["shadow", "simulated", "paper", "live"]
SOURCES = {
    "sample": "five real stocks from 2000 to 2013, here already",
    "files": "your own bars, CSV or Parquet",
    "alpaca": "ten years, free, with the keys of an account",
    "polygon": "what your plan has, with its key",
}
KEYS = {"alpaca": ("ALPACA_API_KEY_ID", "ALPACA_API_SECRET_KEY"), "polygon": ("POLYGON_API_KEY",)}
CASH = {"sample": 1_000.0}
USUAL_CASH = 100_000.0
SMALLEST_CASH = 100.0


def register(app: typer.Typer) -> None:
    """Add this area's command."""
    app.command()(init)


def init(
    vendor: Annotated[
        Source | None, typer.Option(metavar="SOURCE", help="Where bars come from: sample, files, alpaca or polygon.")
    ] = None,
    path: Annotated[Path | None, typer.Option(help="Own bars: bars.csv or bars.parquet, or the folder that holds it.")] = None,
    cash: Annotated[
        float | None,
        typer.Option(
            min=SMALLEST_CASH, max=1e12, metavar="DOLLARS", help="Dollars of the account (100000; of the sample 1000)."
        ),
    ] = None,
    stage: Annotated[
        Stage,
        typer.Option(
            metavar="STAGE",
            help="Where orders go: shadow, simulated, paper or live; paper and live begin with orders of $75.",
        ),
    ] = "shadow",
    out: Annotated[Path | None, typer.Option(help="The file to write (the one KOBE_CONFIG names, or ./kobe.toml).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was seen and written as JSON.")] = False,
) -> None:
    """Write a first kobe.toml: asks where bars come from, looks at them, and fits orders to the account and the prices.

    What is given as an option is not asked; without a terminal nothing is asked. A file that is there is never overwritten.
    """
    from kobe_jobs.cli.first_settings.text import Wanted, settings_text

    target = _target(out)
    vendor = vendor or ("files" if path else _ask_vendor())
    if path is not None and vendor != "files":
        raise UsageError(f"--path is for own files, and --vendor says {vendor}", "leave one of them out")
    place = _ask_path(path) if vendor == "files" else None
    files, opened = _look(vendor, place, target.parent)
    if cash is None:
        cash = _ask_cash(CASH.get(vendor, USUAL_CASH))
    wanted = Wanted(vendor, cash, stage, _as_written(place, target.parent))
    text = settings_text(wanted, files, opened)
    _check(text)
    _write_new(target, text)
    _tell(target, files, opened, vendor, as_json)


def _target(out: Path | None) -> Path:
    """The file to be. Raises UsageError where it is there already, or has no folder to stand in."""
    target = (out or Path(os.environ.get("KOBE_CONFIG") or "kobe.toml")).expanduser().absolute()
    if target.exists():
        raise UsageError(f"{target} is there already, and stays as it is", "edit it, or name another with --out")
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent} is no folder", "make it first, or name another file with --out")
    return target


def _ask(question: str, option: str, default: Any = None, hidden: bool = False) -> str:
    """An answer typed on the terminal. Raises UsageError without one, naming the option that answers."""
    if not sys.stdin.isatty():
        raise UsageError(f"“{question}?” is open, and there is no terminal to ask on", option)
    return str(typer.prompt(question, default=default, hide_input=hidden, err=True)).strip()


def _ask_vendor() -> Source:
    screen = Screen(stderr=True, highlight=False)
    if sys.stdin.isatty():
        for name, description in SOURCES.items():
            screen.say(f"  {name:<8} {description}")
    while True:
        answer = _ask("Where do bars come from", f"say --vendor and one of {', '.join(get_args(Source))}", "sample")
        if answer in SOURCES:
            return answer  # type: ignore[return-value]
        screen.say(f"  one of {', '.join(SOURCES)}")


def _ask_path(path: Path | None) -> Path:
    """Where own bars lie. Raises UsageError where an option, or no terminal, names nothing that is there."""
    while True:
        answer = path or Path(_ask("Where is bars.csv, bars.parquet, or the folder that holds it", "say --path FOLDER"))
        place = answer.expanduser().absolute()
        if place.exists():
            return place
        if path is not None:
            raise UsageError(
                f"{place} does not exist", "name the folder that holds bars.csv or bars.parquet, or the file itself"
            )
        Screen(stderr=True, highlight=False).say(f"  {place} does not exist")


def _ask_cash(default: float) -> float:
    """The account's dollars; the default where there is no terminal to ask on."""
    if not sys.stdin.isatty():
        return default
    screen = Screen(stderr=True, highlight=False)
    while True:
        answer = _ask("Dollars of the account", "say --cash DOLLARS", f"{default:.15g}")
        try:
            cash = float(answer.replace(",", "").replace("_", "").lstrip("$"))
        except ValueError:
            cash = 0.0
        if SMALLEST_CASH <= cash <= 1e12:
            return cash
        screen.say(f"  a number of dollars, at least {SMALLEST_CASH:g}")


def _look(vendor: Source, place: Path | None, folder: Path) -> tuple[MarketLook | None, VendorLook | None]:
    """What the source holds, or what its keys open; nothing of the sample, which is known."""
    if place is not None:
        from kobe_jobs.cli.first_settings.market_look import look_at_files

        return look_at_files(place), None
    if vendor == "sample":
        return None, None
    from kobe_jobs.cli.first_settings.vendor_look import look_at_alpaca, look_at_polygon

    secrets, data = _keys(vendor, folder), _settings({"data": {"vendor": vendor}}).data
    if vendor == "alpaca":
        return None, look_at_alpaca(data.alpaca, secrets)
    return None, look_at_polygon(data.polygon, secrets)


def _keys(vendor: Source, folder: Path) -> Secrets:
    """The keys of the environment or of KOBE_ENV_FILE; those that are missing are asked for and kept in keys.env."""
    from kobe_resources.settings.secrets import load_secrets

    secrets = load_secrets()
    missing = [name for name in KEYS[vendor] if getattr(secrets, name.lower()) is None]
    if not missing:
        return secrets
    kept, unset = folder / "keys.env", f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} not set"
    if kept.exists():
        raise UsageError(f"{unset}, but {kept} is there", f"export KOBE_ENV_FILE={shlex.quote(str(kept))}")
    if not sys.stdin.isatty():
        them = "them" if len(missing) > 1 else "it"
        raise UsageError(unset, f"set {them} in the environment, or in the file that KOBE_ENV_FILE names")
    given = {name: _ask(f"{name} (not shown; kept in {kept})", "", hidden=True) for name in missing}
    _write_new(kept, "".join(f"{name}={value}\n" for name, value in given.items()), private=True)
    os.environ["KOBE_ENV_FILE"] = str(kept)
    return load_secrets()


def _as_written(place: Path | None, folder: Path) -> Path | None:
    """The path of own files as the settings file names it: from its own folder where they lie in or under it."""
    if place is None or not place.is_relative_to(folder):
        return place
    return place.relative_to(folder)


def _settings(values: dict[str, Any]) -> Settings:
    from pydantic import ValidationError

    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"settings: {where} {first['msg']}", "unset the KOBE_… variable that sets it") from None


def _check(text: str) -> None:
    """No file is written that `load_settings` would refuse."""
    import tomllib

    _settings(tomllib.loads(text))


def _write_new(path: Path, text: str, private: bool = False) -> None:
    """Write a file that is not there yet; one that came meanwhile is left alone, and no half of one stays behind."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o644)
    except FileExistsError:
        raise UsageError(f"{path} is there already, and stays as it is", "edit it, or name another with --out") from None
    except OSError as error:
        raise KobeError(f"{path} cannot be written ({error.strerror})", "name another with --out") from error
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise KobeError(f"{path} cannot be written ({error.strerror})", "free space, or name another with --out") from error


def _tell(target: Path, files: MarketLook | None, opened: VendorLook | None, vendor: Source, as_json: bool) -> None:
    commands = _next_commands(target, vendor)
    if as_json:
        seen: dict[str, Any] = {"vendor": vendor, "note": opened.note if opened else None}
        if files:
            low, dear, highest = files.prices
            seen |= {
                "symbols": files.symbols,
                "sessions": files.sessions,
                "bars": files.bars,
                "rows_set_aside": files.set_aside,
            }
            seen |= {"first_session": str(files.first), "last_session": str(files.last)}
            seen |= {"lowest_close_usd": low, "p90_close_usd": dear, "highest_close_usd": highest}
            seen |= {"entries_a_usual_session": files.signals, "positions_together": files.positions}
        print_json({"written": str(target), "seen": seen, "next": commands})
        return
    screen = Screen(highlight=False, soft_wrap=True)
    if files:
        symbols = f"{files.symbols:,} {'symbol' if files.symbols == 1 else 'symbols'}"
        screen.say(f"{symbols}, {files.sessions:,} sessions from {files.first} to {files.last}, {files.bars:,} bars")
        low, dear, highest = files.prices
        screen.say(f"last closes ${low:,.2f} to ${highest:,.2f}, nine in ten at most ${dear:,.2f}")
        screen.say(f"a usual session {files.usual_words}")
        if files.set_aside:
            screen.say(f"{files.set_aside:,} rows will be set aside: `kobe bars refresh` names them")
    if opened:
        screen.say(opened.note)
    screen.print(f"written {target}")
    screen.print(f"data folder {kobe_home()}")
    if held := _other_bars(vendor, files):
        own = shlex.quote(str(target.parent / "kobe-data"))
        screen.say(f"it holds {held} already: give these bars a folder of their own, export KOBE_HOME={own}")
    screen.say("next:")
    for command in commands:
        screen.print(f"  {command}")


def _other_bars(vendor: Source, files: MarketLook | None) -> str:
    """What the data folder holds that another source, or another folder of own files, has stored; empty where nothing."""
    from kobe_resources.market_data.store import current_source
    from kobe_resources.warehouse.store import Warehouse

    warehouse = Warehouse(lock_wait_s=1.0)
    if not warehouse.path.is_file():
        return ""
    try:
        with warehouse.connect() as connection:
            stored = current_source(connection)
            ((bars,),) = connection.execute("SELECT count(*) FROM daily_bars").fetchall()
    except KobeError:
        # A folder that cannot be read now is told of by the command that needs it.
        return ""
    held = stored[0].split()[0] if stored else vendor
    is_other = held != vendor or (files is not None and files.bars != bars)
    return f"{bars:,} {'bar' if bars == 1 else 'bars'} of {held}" if bars and is_other else ""


def _next_commands(target: Path, vendor: Source) -> list[str]:
    """The two commands that come next, as they are typed in this folder and this environment."""
    ahead = ""
    if os.environ.get("KOBE_CONFIG") or target != Path.cwd() / "kobe.toml":
        ahead = f"KOBE_CONFIG={shlex.quote(str(target))} "
    if vendor in KEYS and os.environ.get("KOBE_ENV_FILE"):
        ahead += f"KOBE_ENV_FILE={shlex.quote(os.environ['KOBE_ENV_FILE'])} "
    steps = {"sample": ("kobe report", "kobe ui"), "files": ("kobe report", "kobe universe show")}
    return [ahead + step for step in steps.get(vendor, ("kobe bars refresh", "kobe report"))]
