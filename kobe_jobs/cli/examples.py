"""The help of every command: its docstring in paragraphs that flow, and an example; docs/commands.md shows the same."""

from __future__ import annotations

import inspect

import typer

EXAMPLES = {
    "init": ("init --vendor files --path my_bars --cash 25000",),
    "report": ("report --open",),
    "materialize": ('materialize "+signals"',),
    "backtest": ("backtest --strategy rsi2 --start 2011-01-03 --end 2012-06-29", "backtest --strategy rsi2 --set rsi_entry=5"),
    "sweep": ("sweep --strategy rsi2 --heatmap",),
    "strategies list": ("strategies list",),
    "strategies new": ("strategies new my_idea",),
    "strategies check": ("strategies check my_idea",),
    "bars refresh": ("bars refresh",),
    "bars revisions": ("bars revisions --symbol AAPL",),
    "bars as-of": ("bars as-of 2026-05-01T22:00 --out as_it_was",),
    "bars export": ("bars export bars.parquet --symbol AAPL --start 2011-01-03 --adjusted",),
    "bars doctor": ("bars doctor --limit 10",),
    "bars import": ("bars import downloads --dry-run", "bars import prices.csv --symbol AAPL --column close=Last --dates dmy"),
    "universe show": ("universe show --all",),
    "universe validate": ("universe validate",),
    "trade": ("trade", "trade --session 2011-06-01 --through 2011-06-30"),
    "preflight": ("preflight",),
    "replay": ("replay --start 2012-01-03 --end 2012-01-31",),
    "reconcile": ("reconcile", 'reconcile --accept "sold by hand"'),
    "trace": ("trace", "trace kobe-3f2a", "trace sim:rsi2:canonical:IBM:2012-01-11 --all"),
    "kill on": ('kill on "quotes look wrong"',),
    "kill off": ("kill off",),
    "kill status": ("kill status --json",),
    "audit verify": ("audit verify",),
    "audit head": ("audit head",),
    "audit accept": ('audit accept "restored the backup of last night"',),
    "tomorrow": ("tomorrow",),
    "account": ("account --without-simulation",),
    "account reset": ("account reset",),
    "alert test": ("alert test",),
    "ui": ("ui --port 3000 --no-browser",),
    "health": ("health", "health --serve --port 3071"),
    "backup": ("backup --keep 7",),
    "restore": ("restore kobe-20260501T020000000000Z.tar.gz --force",),
    "units": ("units --user kobe --out /etc/systemd/system",),
    "config show": ("config show --json",),
    "config pin": ("config pin --research",),
    "config docs": ("config docs --out docs",),
}
"""Name of a command → what a person types behind `kobe`."""


def add_examples(app: typer.Typer, above: str = "") -> None:
    """Give every command of `app` and of its groups its help, without the line ends of the source, and its examples."""
    for command in app.registered_commands:
        word = command.name or (command.callback.__name__ if command.callback else "")
        command.epilog = epilog_of(f"{above}{word}")
        command.help = _flowing(inspect.getdoc(command.callback) or "")
    for group in app.registered_groups:
        if group.typer_instance is not None:
            name = str(group.name or group.typer_instance.info.name)
            group.epilog = epilog_of(name)
            add_examples(group.typer_instance, f"{name} ")


def epilog_of(name: str) -> str | None:
    """The examples of one command as its help shows them, a paragraph each; None for a group, which has none."""
    lines = EXAMPLES.get(name)
    return None if lines is None else "\n\n".join(f"Example: `kobe {line}`" for line in lines)


def _flowing(text: str) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
