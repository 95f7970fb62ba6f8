"""What `kobe bars import` prints: the columns as they were understood, what was set aside, and what was written."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from kobe_jobs.cli.screen import Screen
from kobe_resources.settings.load import config_file

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from kobe_resources.market_data.importing.folder import Tally, Written

SHOWN = 20


def show_understood(understood: dict[str, Any], progress: Console) -> None:
    """Each shape with its columns and a row as read; what was mapped, set aside, left out. progress: where its bar is."""
    screen = Screen(highlight=False, soft_wrap=True)
    if progress.is_terminal:
        progress.print()
    for shape in understood["shapes"]:
        more = f" and {shape['files'] - len(shape['file']):,} more" if shape["files"] > len(shape["file"]) else ""
        screen.say(f"{', '.join(shape['file'])}{more}: {shape['shape']}; dates {shape['dates']}, numbers {shape['numbers']}")
        screen.print(_columns(shape["columns"]))
    span = f", {understood['first_session']} to {understood['last_session']}" if understood["bars"] else ""
    screen.say(
        f"{understood['bars']:,} bars of {_symbols(understood['symbols'])}{span}; {understood['splits']:,} splits, "
        f"{understood['dividends']:,} dividends"
    )
    _list(screen, [f"{spelled!r} is taken for {name}" for spelled, name in understood["mapped"].items()])
    _list(screen, [_aside(row) for row in understood["set_aside"]])
    _list(screen, [f"left out: {one['label']} {one['reason']}" for one in understood["left_out"]])
    _list(screen, understood["notes"])


def show_written(written: Written, vendor: str) -> None:
    """What was added and restated, and what to do next."""
    screen = Screen(highlight=False, soft_wrap=True)
    screen.say(f"{written.path}: {_tally('bars', written.bars)}; {_symbols(written.symbols)} in all")
    for name, tally in (("splits", written.splits), ("dividends", written.dividends)):
        if tally.added or tally.restated or tally.kept or tally.unchanged:
            screen.say(_tally(name, tally))
    if written.moved:
        screen.say(f"the file that was there is now {written.moved}")
    known = config_file()
    if known is None:
        screen.print(f"next: kobe init --path {shlex.quote(str(written.path.parent))}")
    elif vendor != "files":
        screen.say(f'data.vendor is {vendor}: set it to "files" in {known} to use them')


def _tally(name: str, tally: Tally) -> str:
    said = f"{tally.added:,} {name} added, {tally.restated:,} restated, {tally.unchanged:,} unchanged"
    return f"{said}, {tally.kept:,} kept from before" if tally.kept else said


def _symbols(count: int) -> str:
    return f"{count:,} {'symbol' if count == 1 else 'symbols'}"


def _columns(columns: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("column", "meaning", "in the file", "as read"):
        table.add_column(title, overflow="fold")
    for row in columns:
        table.add_row(row["column"] or "(no name)", row["meaning"] or "not read", _shown(row["cell"]), _shown(row["read"]))
    return table


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)


def _aside(row: dict[str, Any]) -> str:
    where = " ".join(str(part) for part in (row["file"], row["place"], row["symbol"], row["session"]) if part)
    return f"set aside: {row['rows']:,} x {row['reason']} (the first: {where})"


def _list(screen: Screen, lines: list[str]) -> None:
    for line in lines[:SHOWN]:
        screen.say(f"  {line}")
    if len(lines) > SHOWN:
        screen.say(f"  and {len(lines) - SHOWN:,} more; see --json")
