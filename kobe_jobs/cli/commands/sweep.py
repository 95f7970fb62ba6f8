"""`kobe sweep`: every parameter set on every fold."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kobe_jobs.cli.kept_warehouse import keeps_warehouse_open
from kobe_jobs.cli.screen import Screen, print_json
from kobe_resources.settings.load import load_settings

if TYPE_CHECKING:
    from rich.table import Table

    from kobe_jobs.research_run.sweep import Sweep
    from kobe_resources.settings.models import Settings
    from kobe_resources.warehouse.store import Warehouse


def register(app: typer.Typer) -> None:
    """Add this area's commands."""
    app.command()(sweep)


@keeps_warehouse_open
def sweep(
    strategy: Annotated[list[str] | None, typer.Option(help="Only this strategy; may be given again.")] = None,
    heatmap: Annotated[
        bool, typer.Option("--heatmap", help="Print the heat map of every pair of parameters, and write them as a picture.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the best sets as JSON.")] = False,
) -> None:
    """Run every parameter set of the grids over every fold's training, and keep each in wf_trials.

    Every try counts: the deflated Sharpe ratio of the report takes its number of trials from wf_trials. What is on record
    for these settings and bars is not run again, so a stopped sweep goes on where it was. The grids are those of
    \\[walk_forward.grid.<strategy>], or the strategies' own; \\[compute] says where it runs.
    """
    from kobe_jobs.cli.heat_maps import LEGEND, heat_map_json, heat_map_tables
    from kobe_jobs.research_run.stale import bring_up_to_date
    from kobe_jobs.research_run.sweep import best_sets, plan_sweep, write_heat_maps
    from kobe_resources.market_data.store import warehouse_of

    settings = load_settings()
    warehouse = warehouse_of(settings)
    bring_up_to_date(settings, targets=("daily_bars", "universe", "indicators"))
    plan = plan_sweep(settings, warehouse, strategy or [])
    seconds = _run(settings, warehouse, plan)
    # In the order of the report and of the heat maps.
    rows = sorted(best_sets(warehouse, plan), key=lambda row: str(row["strategy"]))
    grids, picture = write_heat_maps(settings, warehouse, plan) if heatmap else ([], None)
    if as_json:
        details = {"total": plan.total, "run": plan.left, "seconds": seconds, "best": rows}
        if heatmap:
            details |= {"heat_maps": [heat_map_json(grid) for grid in grids], "picture": str(picture)}
        print_json(details)
        return
    console = Screen()
    console.print(_best(rows))
    for grid in grids:
        for title, drawn in heat_map_tables(grid):
            console.say(title)
            console.print(drawn)
    if heatmap:
        console.say(LEGEND + "; → its mean Sharpe ratio on unseen sessions")
        console.print(f"picture: {picture}", soft_wrap=True, highlight=False)
    console.say("unseen: mean Sharpe ratio of the test windows that the report traded with the set, and how many; – where none")
    known = f"{plan.total - plan.left:,} were on record already, from `kobe report` or an earlier sweep"
    console.say(f"{plan.left:,} of {plan.total:,} fold simulations run in {seconds:.1f} s; {known}")


def _run(settings: Settings, warehouse: Warehouse, plan: Sweep) -> float:
    """Run what is left of the plan behind a progress bar; the seconds that it took."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from kobe_jobs.research_run.sweep import run_sweep

    screen = Screen(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("left"), TimeRemainingColumn())
    began = time.monotonic()
    with Progress(*columns, console=screen, disable=not screen.is_terminal) as bar:
        shown = bar.add_task("fold simulations", total=plan.total, completed=plan.total - plan.left)
        run_sweep(settings, warehouse, plan, lambda count: bar.advance(shown, count))
    return time.monotonic() - began


def _best(rows: list[dict[str, Any]]) -> Table:
    """The best sets as a table, a line each."""
    from rich.table import Table

    from kobe_jobs.research_run.sweep import as_text

    table = Table(title="Best in training; what wins in few folds was luck", title_justify="left")
    for name in ("strategy", "parameters", "mean Sharpe", "worst fold", "folds won", "unseen"):
        table.add_column(name, justify="left" if name in ("strategy", "parameters") else "right")
    for row in rows:
        params = ", ".join(f"{name} {value:g}" for name, value in json.loads(row["params"]).items())
        # A mean over few folds says little: where some have no ratio, how many have one stands beside it.
        rated = "" if row["rated_folds"] == row["folds"] else f" in {row['rated_folds']} of {row['folds']}"
        figures = (as_text(row["mean"]) + rated, as_text(row["worst"]), f"{row['won']} of {row['folds']}")
        unseen = f"{as_text(row['unseen'])} in {row['unseen_folds']}" if row["unseen_folds"] else "–"
        table.add_row(row["strategy"], params, *figures, unseen)
    return table
