"""`kobe report`, `kobe materialize`, `kobe backtest`: the research path from the terminal."""

from __future__ import annotations

import datetime as dt
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kobe_jobs.cli.dates import FORM, parse_day
from kobe_jobs.cli.failed_gates import failed_gates_text
from kobe_jobs.cli.kept_warehouse import keeps_warehouse_open
from kobe_jobs.cli.output import table_of
from kobe_jobs.cli.screen import Screen, print_json, warn_of
from kobe_jobs.cli.verdict_table import holding_figures, verdict_lines, verdict_table
from kobe_resources.errors import UsageError
from kobe_resources.settings.load import config_file, kobe_home, load_settings
from kobe_resources.settings.models import BOOK

if TYPE_CHECKING:
    from kobe_resources.settings.models import Settings


def register(app: typer.Typer) -> None:
    """Add this area's commands."""
    app.command()(report)
    app.command()(materialize)
    app.command()(backtest)


@keeps_warehouse_open
def report(
    open_page: Annotated[bool, typer.Option("--open", help="Open the report in the browser.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Compute everything again, also what is up to date.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Bring everything up to the walk-forward report up to date; print the verdict and where the page is.

    Computes only what is stale: a second run computes nothing. Without settings it runs on the embedded sample,
    five real stocks from 2000 to 2013.
    """
    from kobe_jobs.research_run.stale import bring_up_to_date, report_page

    settings = load_settings()
    screen = Screen(stderr=True)
    page = report_page()
    with screen.status("looking for what is stale") as status:

        def watch(step: str, what: str, seconds: float) -> None:
            if what == "start":
                status.update(f"computing {step}")
            elif what == "done" and not step.endswith("checks"):
                screen.say(f"  {step:<12} {seconds:6.2f} s", style="dim")

        began = dt.datetime.now(dt.UTC)
        computed = bring_up_to_date(settings, force, watch)
    _say_what_changed(began)
    _print_verdict(as_json, computed, page, settings.data.vendor)
    _warn_of_releases(settings)
    if "orders" in settings.alerts.on:
        from kobe_jobs.trading.reporting.alerts import alert_of_next_orders

        alert_of_next_orders(settings)
    if open_page:
        import webbrowser

        webbrowser.open(page.as_uri())


def _say_what_changed(since: dt.datetime) -> None:
    """Name the symbols whose stored bars were restated or taken back, where a load of this command did so."""
    from kobe_resources.market_data.history import describe_revisions
    from kobe_resources.warehouse.store import Warehouse

    for line in describe_revisions(Warehouse(), since):
        Screen(stderr=True).say(f"bars: {line}")


@keeps_warehouse_open
def materialize(
    selection: Annotated[
        str, typer.Argument(help='Assets, as Dagster selects them: "signals", "+signals", "group:research", "*".')
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print what was computed, and how long it took, as JSON.")] = False,
) -> None:
    """Compute the selected assets and their checks now, stale or not."""
    import dagster as dg

    from kobe_jobs.definitions import build_definitions
    from kobe_jobs.research_run.stale import run_assets
    from kobe_resources.market_data.store import warehouse_of

    settings = load_settings()
    warehouse_of(settings)
    graph = build_definitions(settings).resolve_asset_graph()
    try:
        with warnings.catch_warnings():
            # Dagster's own parser passes a parameter that Dagster calls beta.
            warnings.simplefilter("ignore", dg.BetaWarning)
            chosen = dg.AssetSelection.from_string(selection).resolve(graph)
    except (dg.DagsterError, ValueError, NotImplementedError):
        chosen = set()
    known = [key.to_user_string() for key in chosen if key in graph.materializable_asset_keys]
    if not known:
        names = ", ".join(key.to_user_string() for key in graph.toposorted_asset_keys if key in graph.materializable_asset_keys)
        raise UsageError(f"{selection!r} selects no asset that can be computed", f'use {names}, or "+signals", or "*"')
    screen = Screen(stderr=True)
    took: dict[str, float] = {}

    def watch(step: str, what: str, seconds: float) -> None:
        if what == "done":
            took[step] = seconds
            screen.say(f"  {step:<20} {seconds:6.2f} s", style="dim")

    run_id = run_assets(settings, known, watch=watch)
    if as_json:
        print_json({"computed": sorted(known), "run": run_id, "seconds": took})
        return
    Screen().say(f"computed {', '.join(sorted(known))} in run {run_id}")


@keeps_warehouse_open
def backtest(
    strategy: Annotated[str, typer.Option(help="Name of the strategy, rsi2 say; portfolio: those of \\[portfolio] together.")],
    start: Annotated[
        dt.date | None,
        typer.Option(parser=parse_day, metavar=FORM, help="First session of the window (the first stored)."),
    ] = None,
    end: Annotated[
        dt.date | None, typer.Option(parser=parse_day, metavar=FORM, help="Last session of the window (the last stored).")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for backtest.html, trade_list.csv, equity_curve.csv and summary.json; an earlier run's are replaced. "
            "None: backtests/STRATEGY in the data folder."
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the strategy (strategy.parameter of a portfolio)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Simulate one strategy over one window at the canonical parameters, on the stored bars.

    Bars, universe and indicators are brought up to date first. Exit code 1 where it reads the future. What is left out is said:
    sessions, symbols, signals. Parameters changed by --set are a try that the deflated Sharpe ratio of the report counts;
    looking at a backtest of the canonical ones is a try that is not counted.
    """
    from kobe_jobs.research_run.backtest import PAGE, STANDS_ON, describe_replaced, earlier_run, parse_changes, run_backtest
    from kobe_jobs.research_run.stale import bring_up_to_date
    from kobe_jobs.research_run.strategies import MEND_LEAK, ReadsTheFuture, strategy_named
    from kobe_resources.runtime.report_index import BACKTESTS

    settings = load_settings()
    if strategy != BOOK:
        strategy_named(settings, strategy)
    changed = parse_changes(settings, strategy, changes or [])
    out = out or kobe_home() / BACKTESTS / strategy
    began = dt.datetime.now(dt.UTC)
    bring_up_to_date(settings, targets=STANDS_ON)
    _say_what_changed(began)
    earlier = earlier_run(out)
    summary = run_backtest(settings, strategy, start, end, out, changed)
    if replaced := describe_replaced(earlier, summary):
        Screen(stderr=True).say(f"replaced: {replaced}; --out DIR keeps both")
    _warn_of_releases(settings)
    if as_json:
        print_json({**summary, "page": str(out / PAGE)})
    else:
        _print_backtest(summary, out)
    if summary["lookahead"]:
        raise ReadsTheFuture(
            f"{strategy} reads the future, so its figures mean nothing: {summary['lookahead']}",
            MEND_LEAK,
        )


def _print_backtest(summary: dict[str, Any], out: Path) -> None:
    from rich.table import Table

    from kobe_assets.report.analysis.metrics_glossary import FIGURES, FOLD_FIGURES, show
    from kobe_jobs.research_run.backtest import PAGE

    console = Screen()
    table = Table(title=f"{summary['strategy']} from {summary['start']} to {summary['end']}", show_header=False)
    for name in FOLD_FIGURES:
        table.add_row(FIGURES[name].label, show(summary[name], FIGURES[name].unit))
    table.add_row("trades", show(summary["trades"], "count"))
    for reason, count in summary["refused"].items():
        table.add_row(f"refused: {reason}", show(count, "count"))
    console.print(table)
    if summary["exits_by_reason"]:
        exits = table_of("Exits by reason", "exit", "trades", "net profit", "a trade")
        for row in summary["exits_by_reason"]:
            each = show(row["net_pnl"] / row["trades"], "cents")
            exits.add_row(row["reason"], show(row["trades"], "count"), show(row["net_pnl"], "cents"), each)
        console.print(exits)
    held = summary["held"]
    console.say(
        f"holding the same stocks in equal parts: {show(held['final_equity'], 'money')} in the end, Sharpe ratio "
        f"{show(held['sharpe'], 'ratio')}, growth a year {show(held['cagr'], 'percent')}, "
        f"worst fall {show(held['max_drawdown'], 'percent')}"
    )
    if not summary["lookahead"]:
        console.say("lookahead: none found on the stored bars")
    for note in summary["notes"]:
        console.say(f"note: {note}")
    for warning in summary["warnings"]:
        console.say(f"warning: {warning['name']}: {warning['text']}")
    console.print(f"written to {out}", soft_wrap=True, highlight=False)
    console.print(f"page: {out / PAGE}", soft_wrap=True, highlight=False)


def _print_verdict(as_json: bool, computed: list[str], page: Path, vendor: str) -> None:
    from kobe_jobs.research_run.backtest import failed_checks
    from kobe_resources.runtime.report_summary import read_summary
    from kobe_resources.warehouse.store import Warehouse

    console = Screen()
    warehouse = Warehouse()
    stored = dict(warehouse.rows("SELECT name, CAST(value AS VARCHAR) FROM evidence WHERE strategy = 'report'"))
    rows = json.loads(stored.get("verdict", "[]"))
    warnings = [*json.loads(stored.get("cautions", "[]")), *failed_checks(warehouse)]
    headline = (read_summary(page) or {}).get("headline", "")
    if as_json:
        result: dict[str, Any] = {
            "computed": computed, "report": str(page), "headline": headline, "verdict": rows, "warnings": warnings,
        }  # fmt: skip
        print_json(result)
        return
    # The table is the last of it, where a person looks once all has scrolled by.
    if failed := failed_gates_text(rows, console.width):
        console.print(failed + "\n", highlight=False, markup=False)
    if headline:
        console.say(headline, style="bold")
    holding = holding_figures(warehouse)
    table = verdict_table(rows, holding)
    # Rich would cut columns until the verdict itself is gone.
    wanted = console.measure(table, options=console.options.update(max_width=1000)).maximum
    console.print(table if wanted <= console.width else verdict_lines(rows, holding), highlight=False)
    for warning in warnings:
        console.say(f"warning: {warning['name']}: {warning['text']}")
    if config_file() is None and vendor == "sample":
        console.say("no kobe.toml here: the embedded sample (your own bars: `kobe init`)")
    console.say("computed " + ", ".join(computed) if computed else "everything was up to date")
    console.print(f"report: {page}", soft_wrap=True, highlight=False)


def _warn_of_releases(settings: Settings) -> None:
    """A mistyped symbol lifts no quarantine."""
    from kobe_resources.warehouse.store import Warehouse

    release = sorted(settings.universe.release)
    sql = "SELECT DISTINCT symbol FROM daily_bars WHERE list_contains(?, symbol)"
    stored = {symbol for (symbol,) in Warehouse().rows(sql, [release])} if release else set()
    for symbol in release:
        if symbol not in stored:
            warn_of(f"universe.release names {symbol}, of which no bars are stored: mend the symbol, or take it out")
