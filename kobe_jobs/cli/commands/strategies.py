"""`kobe strategies`: what is registered, a new one from a template, and the proof that one reads no future."""

from __future__ import annotations

import errno
import os
import stat
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kobe_jobs.cli.screen import Screen, print_json
from kobe_resources.errors import KobeError, UsageError
from kobe_resources.settings.load import config_file, load_settings

if TYPE_CHECKING:
    from kobe_jobs.research_run.strategy_check import StrategyFacts
    from kobe_resources.settings.models import Settings

FOLDER = "strategies"
AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


class CannotWrite(KobeError):
    """A new strategy, or the line that names its folder, could not be kept."""


def register(app: typer.Typer) -> None:
    """Add this area's commands."""
    area = typer.Typer(name="strategies", help="Kobe's strategies and your own.", no_args_is_help=True)
    area.command("list")(show)
    area.command()(new)
    area.command()(check)
    app.add_typer(area)


def show(as_json: AsJson = False) -> None:
    """Every registered strategy: from which file, what it reads, and whether it trades."""
    from rich.table import Table

    from kobe_assets.graph.inputs import canonical_params
    from kobe_assets.graph.own_strategies import files_of_none, strategies_of
    from kobe_assets.research.strategies import BUILT_IN
    from kobe_jobs.research_run.strategies import why_only_simulated

    settings = load_settings()
    rows: list[dict[str, Any]] = [
        {
            "name": one.name,
            "summary": one.summary,
            "from": "Kobe" if one.name in BUILT_IN else one.place,
            "sides": [side for side in ("long", "short") if getattr(one, side) is not None],
            "indicators": {name: str(own) for name, own in one.indicators.items()},
            "parameters": canonical_params(settings, one),
            "weight": settings.portfolio.strategies.get(one.name),
            "only_simulated": why_only_simulated(one),
        }
        for one in sorted(strategies_of(settings).values(), key=lambda one: one.name)
    ]
    if as_json:
        print_json(rows)
        return
    screen = Screen(highlight=False)
    table = Table()
    for column in ("strategy", "trades", "sides", "reads", "from"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(row["name"], _trades(row), " ".join(row["sides"]), ", ".join(row["indicators"]), row["from"])
    screen.print(table)
    for path in files_of_none(settings):
        screen.say(f"{path} declares no strategy: one is a name at the top of a file, MINE = Strategy(…)")
    if settings.strategy.folder is None:
        screen.say("your own: `kobe strategies new NAME` writes one")


def new(name: Annotated[str, typer.Argument(help="Its name: small letters, digits and _.")]) -> None:
    """Write a strategy of your own into the folder of strategies: a commented template that runs as it is.

    Where the settings name no folder, a line that does is written into the settings file, or a new one.
    """
    from kobe_assets.research.strategies import BUILT_IN
    from kobe_assets.research.strategies.base import NAME, TAKEN
    from kobe_jobs.research_run.template import template_of

    if not NAME.fullmatch(name) or name in (*BUILT_IN, *TAKEN):
        what = f"{name!r} is taken" if name in (*BUILT_IN, *TAKEN) else f"{name!r} is no name of a strategy"
        raise UsageError(what, "use small letters, digits and _, beginning with a letter, as in my_idea")
    screen = Screen(highlight=False, soft_wrap=True)
    folder = _folder(load_settings(), screen)
    path = folder / f"{name}.py"
    _refuse_a_taken(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists():
            raise UsageError(f"{path} is there already", "choose another name, or edit that file")
        _rewrite(path, template_of(name))
    except OSError as error:
        mend = "free space, mend permissions, or name another folder in [strategy]"
        raise CannotWrite(f"{path} cannot be written ({error.strerror})", mend) from error
    screen.say(f"written to {path}")
    screen.say(f"next: `kobe strategies check {name}`, then `kobe backtest --strategy {name}` or `kobe report`")


def check(
    name: Annotated[str, typer.Argument(help="Name of the strategy.")],
    as_json: AsJson = False,
) -> None:
    """Prove on the stored bars that a strategy reads no future; its warm-up, signals a year, trades of a quick run.

    Bars, universe and indicators are brought up to date first. Exit code 1 where it reads the future. Nothing is counted as a
    try of the deflated Sharpe ratio.
    """
    from kobe_jobs.research_run.stale import bring_up_to_date
    from kobe_jobs.research_run.strategies import MEND_LEAK, ReadsTheFuture, strategy_named
    from kobe_jobs.research_run.strategy_check import check_strategy

    settings = load_settings()
    strategy = strategy_named(settings, name)
    bring_up_to_date(settings, targets=("daily_bars", "universe", "indicators"))
    facts = check_strategy(settings, strategy)
    if as_json:
        print_json(facts.as_json())
    else:
        _print(facts)
    if facts.leak:
        raise ReadsTheFuture(f"the strategy {name} reads the future: {facts.leak}", MEND_LEAK)


def _trades(row: dict[str, Any]) -> str:
    if row["weight"] is None:
        return "no"
    if row["only_simulated"]:
        return f"no: {row['only_simulated']}"
    return "yes" if row["weight"] == 1.0 else f"weight {row['weight']:g}"


def _refuse_a_taken(name: str) -> None:
    """Another file may declare the name; one that is broken is no reason not to begin a new one."""
    from kobe_assets.graph.own_strategies import strategies_of
    from kobe_assets.research.strategies import StrategyBroken, StrategyFault

    try:
        known = strategies_of(load_settings())
    except (StrategyBroken, StrategyFault):
        return
    if name in known:
        raise UsageError(f"{name!r} is taken by {known[name].place}", "choose another name")


def _folder(settings: Settings, screen: Screen) -> Path:
    """The folder of strategies; where the settings name none, a line that does is written into their file, or a new one."""
    if settings.strategy.folder is not None:
        return settings.strategy.folder
    line = f'folder = "{FOLDER}"'
    known = config_file()
    path = known or Path.cwd() / "kobe.toml"
    try:
        added = with_folder(path.read_bytes().decode() if known else "", line)
        if added is None:
            raise UsageError("[strategy] names no folder of strategies", f"write {line} under [strategy] in {path}")
        _rewrite(path, added)
    except OSError as error:
        mend = f"write {line} under [strategy] in it" if known else "go to a folder of your own"
        raise CannotWrite(f"{path} cannot be written ({error.strerror})", mend) from error
    screen.say(f"written to {path}: {line}, under [strategy]")
    return path.parent / FOLDER


def _rewrite(path: Path, text: str) -> None:
    """Write a person's file in one step, who may read it left as it is."""
    from kobe_resources.runtime.atomic_files import write_whole

    target = path.resolve()
    mode = target.stat().st_mode if target.exists() else 0o644
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    write_whole(target, text.encode())
    target.chmod(stat.S_IMODE(mode))


def with_folder(text: str, line: str) -> str | None:
    """Settings with a line more under [strategy], and nothing else changed; None where that cannot be done by a line."""
    lines = text.splitlines()
    heads = [k for k, own in enumerate(lines) if own.split("#")[0].strip() == "[strategy]"]
    if heads:
        lines.insert(heads[0] + 1, line)
    else:
        lines += ["", "[strategy]", line] if lines else ["[strategy]", line]
    end = "\r\n" if "\r\n" in text else "\n"
    added = end.join(lines) + end
    try:
        before, after = tomllib.loads(text), tomllib.loads(added)
    except tomllib.TOMLDecodeError:
        return None
    wanted = {**before, "strategy": {**before.get("strategy", {}), **tomllib.loads(line)}}
    return added if after == wanted else None


def _print(facts: StrategyFacts) -> None:
    from rich.table import Table

    from kobe_assets.report.analysis.metrics_glossary import show

    screen = Screen(highlight=False, soft_wrap=True)
    table = Table(title=f"{facts.name}, {facts.place}", title_justify="left")
    for column in ("indicator", "declared", "first value after", "defined"):
        table.add_column(column, overflow="fold")
    for one in facts.indicators:
        first = "never" if one.first is None else f"{one.first} bar{'s' * (one.first != 1)}"
        table.add_row(one.name, one.declared, first, f"{100 * one.defined:.0f} %")
    screen.print(table)
    warmup = "no signal can be" if facts.warmup is None else f"{facts.warmup} bar{'s' * (facts.warmup != 1)} of a listing"
    screen.say(f"warm-up: {warmup}")
    screen.say("signals a year: " + ", ".join(f"{count:,.1f} {side}" for side, count in facts.signals.items()))
    exits = ", ".join(f"{count:,} {reason}" for reason, count in sorted(facts.exits.items()))
    earned = show(facts.net_pnl, "cents")
    screen.say(
        f"a quick run over {facts.sessions:,} sessions: {facts.trades:,} trades, {earned} after costs"
        + (f" ({exits})" if exits else "")
    )
    if facts.refused:
        screen.say("refused: " + ", ".join(f"{count:,} {reason}" for reason, count in sorted(facts.refused.items())))
    for note in facts.notes:
        screen.say(f"note: {note}")
    if not facts.leak:
        screen.say("reads no future: with the bars after each of several dates cut off, or noise, the past stays the same")
