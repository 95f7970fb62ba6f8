"""`kobe universe`: who may trade, on what evidence, and whether the bars bear it out."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kobe_jobs.cli.kept_warehouse import keeps_warehouse_open
from kobe_jobs.cli.screen import Screen, print_json
from kobe_resources.errors import KobeError
from kobe_resources.settings.load import load_settings

if TYPE_CHECKING:
    import pandas as pd

    from kobe_assets.selection.eligibility import Validation
    from kobe_resources.settings.models import Settings
    from kobe_resources.warehouse.store import Warehouse

SHOWN = 30


class UniverseRefused(KobeError):
    """The universe does not hold what the settings ask of it."""


def register(app: typer.Typer) -> None:
    """Add this area's commands."""
    area = typer.Typer(name="universe", help="Who may trade, and on what evidence.", no_args_is_help=True)
    area.command()(show)
    area.command()(validate)
    app.add_typer(area)


@keeps_warehouse_open
def show(
    everyone: Annotated[bool, typer.Option("--all", help="Every candidate, the rejected ones with their reason.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print every candidate as JSON.")] = False,
) -> None:
    """The evidence of the candidates: history, options, shares and dollars a day (60 bars); selected, or why not."""
    from kobe_resources.market_data.store import warehouse_of

    settings = load_settings()
    universe, stored = _universe(warehouse_of(settings), settings)
    if as_json:
        print_json(_records(universe))
        return
    screen = Screen(highlight=False, soft_wrap=True)
    selected = universe[universe["selected"].astype(bool)]
    screen.print(_table(universe if everyone else selected.head(SHOWN)))
    if not everyone and len(selected) > SHOWN:
        screen.say(f"and {len(selected) - SHOWN:,} more selected; --all shows every candidate", style="dim")
    rejected = universe.loc[~universe["selected"].astype(bool), "reason"].value_counts()
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in rejected.items())
    screen.say(f"{len(selected):,} of {len(universe):,} candidates selected" + (f"; rejected: {reasons}" if reasons else ""))
    if not stored:
        screen.say("Derived from the bars just now; `kobe report` stores it.", style="dim")


@keeps_warehouse_open
def validate(as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False) -> None:
    """Derive the evidence anew from the bars and hold it against min_symbols and min_years; exit 1 where it falls short."""
    from kobe_assets.selection.eligibility import validate_universe
    from kobe_resources.market_data.store import warehouse_of

    settings = load_settings()
    verdict = validate_universe(warehouse_of(settings), settings)
    if as_json:
        print_json({**asdict(verdict), "offenders": _records(verdict.offenders)})
    else:
        _print_verdict(verdict, settings)
    if not verdict.passed:
        more = f" (and {len(verdict.failures) - 1} more)" if len(verdict.failures) > 1 else ""
        raise UniverseRefused(
            f"the universe does not hold: {verdict.failures[0]}{more}",
            "load more history or candidates (`kobe bars refresh`), run `kobe report`, or change [universe]",
        )


def _universe(warehouse: Warehouse, settings: Settings) -> tuple[pd.DataFrame, bool]:
    """The stored table, or one derived now where none is stored."""
    from kobe_assets.selection.eligibility import build_universe

    stored = warehouse.frame("SELECT * FROM universe ORDER BY rank NULLS LAST, symbol")
    return (stored, True) if len(stored) else (build_universe(warehouse, settings), False)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows for JSON: dates as text, what is missing as null."""
    plain = frame.copy()
    for name in ("first_session", "last_session"):
        if name in plain:
            plain[name] = plain[name].dt.strftime("%Y-%m-%d")
    if "rank" in plain:
        plain["rank"] = plain["rank"].astype("Int32")
    rows: list[dict[str, Any]] = json.loads(plain.to_json(orient="records", double_precision=15))
    return rows


def _table(universe: pd.DataFrame) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("rank", "symbol", "first", "last", "bars", "years", "shares", "dollars", "opt", "reason"):
        justify: Literal["left", "right"] = "left" if column in ("symbol", "opt", "reason") else "right"
        # One odd name must not push the figures off the screen.
        table.add_column(column, justify=justify, no_wrap=True, max_width=16 if column == "symbol" else None)
    for row in _records(universe):
        options = {True: "yes", False: "no", None: "?"}[row["has_options"]]
        years = "" if row["years"] is None else f"{row['years']:.2f}"
        numbers = [f"{row['sessions']:,}", years, _short(row["adv_shares"]), _short(row["adv_usd"])]
        days = [row["first_session"] or "", row["last_session"] or ""]
        rank = "" if row["rank"] is None else str(int(row["rank"]))
        table.add_row(rank, row["symbol"], *days, *numbers, options, row["reason"] or "")
    return table


def _short(number: float | None) -> str:
    """A daily average in four characters or so: 20.7M."""
    if number is None:
        return ""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return f"{number:.0f}"


def _print_verdict(verdict: Validation, settings: Settings) -> None:
    screen = Screen(highlight=False, soft_wrap=True)
    wanted = settings.universe
    years = "no bars" if verdict.shortest_years is None else f"{verdict.shortest_years:.2f} years"
    screen.say(f"listed {verdict.listed:,}, borne out by their bars {verdict.holding:,} (min_symbols {wanted.min_symbols:,})")
    screen.say(f"shortest history {years} (min_years {wanted.min_years:g}); membership {wanted.membership}")
    if verdict.drifted:
        screen.say(f"{verdict.drifted:,} symbols have other bars now than when the table was written", style="yellow")
    for failure in verdict.failures:
        screen.say(failure, style="red")
    if verdict.passed:
        screen.say("the universe holds", style="green")
