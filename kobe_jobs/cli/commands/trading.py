"""`kobe trade`, `preflight`, `replay`, `reconcile` and `trace`: the order path from the terminal."""

from __future__ import annotations

import datetime as dt
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from kobe_jobs.cli.dates import FORM, parse_day
from kobe_jobs.cli.kept_warehouse import keeps_warehouse_open
from kobe_jobs.cli.output import lines_of, order_table, output, show_replay, show_summary, table_of
from kobe_jobs.cli.screen import Screen, print_json, warn_of
from kobe_resources.errors import KobeError
from kobe_resources.settings.load import load_settings
from kobe_resources.settings.secrets import load_secrets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kobe_jobs.trading.reporting.summary import RunSummary
    from kobe_resources.findings import Finding
    from kobe_resources.settings.models import Settings

Day = Annotated[dt.date | None, typer.Option(parser=parse_day, metavar=FORM, help="The session.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add this area's commands."""
    for command in (trade, preflight, replay, reconcile, trace):
        app.command()(command)


def trade(
    session: Day = None,
    through: Annotated[
        dt.date | None,
        typer.Option(parser=parse_day, metavar=FORM, help="Embedded stages: every session up to this one, in order."),
    ] = None,
    strategy: Annotated[str | None, typer.Option(help="Which strategy; none: what \\[portfolio] trades.")] = None,
    confirm: Annotated[str | None, typer.Option(help="Stage live: the phrase that lets this session trade.")] = None,
    as_json: AsJson = False,
) -> None:
    """Trade one session, or finish one that a killed run left half done.

    Without --session: the one that the broker's clock stands in. At the embedded broker, whose clock stands in the stored
    bars, the next session that has bars and was not traded; where there is none, one line and exit code 0.
    Stage shadow (the default) decides and sends nothing, simulated trades against the embedded broker, paper and live against
    Alpaca. Exit code 1 where it was refused, halted, or left something open, and where the market is shut: what is held is
    looked after all the same.
    """
    from kobe_jobs.research_run.strategies import load_account_settings
    from kobe_jobs.trading.reporting.alerts import alert, alert_of_run
    from kobe_jobs.trading.reporting.dagster_events import show_run
    from kobe_jobs.trading.run_lock import AnotherRunTrades
    from kobe_resources.order_ledger.sessions import SessionTaken
    from kobe_resources.runtime.event_log import configure_logging

    # Files of own strategies are read by the run, which protects what is held though one of them is broken.
    settings = load_account_settings()
    configure_logging()
    try:
        if through is not None:
            _trade_days(settings, session, through, strategy, confirm, as_json)
            return
        summary = _trade(settings, session, strategy, confirm, as_json)
    except (AnotherRunTrades, SessionTaken):
        # Another run trades, or has: that is how it should be.
        raise
    except (KobeError, OSError) as error:
        alert(settings, "a trading run failed", reason=str(error), stage=settings.broker.stage)
        raise
    if summary is None:
        return
    try:
        show_summary(summary, as_json)
    finally:
        show_run(summary)
        alert_of_run(settings, summary)
    if not summary.is_clean or summary.untraded:
        raise typer.Exit(1)


def _trade_days(
    settings: Settings, session: dt.date | None, through: dt.date, strategy: str | None, confirm: str | None, as_json: bool
) -> None:
    """Many sessions, a line each; ends with 1 behind the first that is not clean."""
    from kobe_jobs.trading.context import open_trading_context
    from kobe_jobs.trading.reporting.alerts import alert_of_run, run_line
    from kobe_jobs.trading.reporting.dagster_events import show_run
    from kobe_jobs.trading.session_series import nothing_through, trade_through

    console = output()

    def done(summary: RunSummary, gap: str) -> None:
        if not as_json:
            # One that is not clean ends the days, and is shown whole below.
            notes = [f"  note: {note}" for note in summary.notes if summary.is_clean and note != gap]
            for line in filter(None, (gap, f"{summary.session}  {run_line(summary)}", *notes)):
                console.say(line)

    # Where no session is named, the first is the next that was not traded: the clock is not set to the last one.
    with open_trading_context(settings, load_secrets(), leave_clock=True) as trading:
        found = trade_through(trading, through, session, strategy, lambda phrase: _typed(phrase, confirm), done)
        nothing = "" if found else nothing_through(trading, through)
    if not found:
        print_json([]) if as_json else console.say(nothing)
        return
    last = found[-1]
    if as_json:
        print_json([summary.as_json() for summary in found])
    elif not last.is_clean:
        show_summary(last, as_json=False)
    show_run(last)
    alert_of_run(settings, last)
    if not last.is_clean:
        raise typer.Exit(1)


def _trade(
    settings: Settings, session: dt.date | None, strategy: str | None, confirm: str | None, as_json: bool
) -> RunSummary | None:
    """One run; None, said in a line, where no session was named and none is left."""
    from kobe_jobs.trading.context import open_trading_context
    from kobe_jobs.trading.next_session import keeps_stored_time, next_session, nothing_left
    from kobe_jobs.trading.reporting.alerts import alert_if_healed
    from kobe_jobs.trading.session import trade_session

    with open_trading_context(settings, load_secrets(), leave_clock=session is not None) as trading:
        try:
            chosen = next_session(trading) if session is None and keeps_stored_time(trading) else session
            if chosen is None and keeps_stored_time(trading):
                note = nothing_left(trading)
                if as_json:
                    print_json({"session": None, "note": note})
                else:
                    output().say(note)
                return None
            return trade_session(trading, chosen, strategy, lambda phrase: _typed(phrase, confirm))
        finally:
            warn_of(alert_if_healed(settings, trading.ledger))


@keeps_warehouse_open
def preflight(strategy: Annotated[str | None, typer.Option(help="Which strategy.")] = None, as_json: AsJson = False) -> None:
    """Check what must be true before a session trades; each line with its mend. Exit code 1 where one fails."""
    from kobe_jobs.trading.context import open_trading_context
    from kobe_jobs.trading.readiness.preflight import preflight as run_preflight
    from kobe_resources.findings import is_ready

    settings, secrets = load_settings(), load_secrets()
    with open_trading_context(settings, secrets, even_without_broker=True) as trading:
        lines = run_preflight(trading, secrets, strategy)
    passed = is_ready(lines)
    if as_json:
        rows = [
            {"name": line.name, "passed": line.ok, "seen": line.seen, "mend": line.hint, "blocks": line.blocks}
            for line in lines
        ]
        print_json({"passed": passed, "lines": rows})
    else:
        table = table_of(f"Preflight, stage {settings.broker.stage}", "check", "", "seen", "mend")
        shown, alike = _without_repeats(lines)
        for line in shown:
            mark = "pass" if line.ok else "FAIL" if line.blocks else "warn"
            table.add_row(line.name, mark, line.seen, line.hint)
        output().print(table)
        for name, others in alike.items():
            output().say(f"not looked at, for the same reason as {name}: {', '.join(others)}")
    if not passed:
        raise typer.Exit(1)


def _without_repeats(lines: Sequence[Finding]) -> tuple[list[Finding], dict[str, list[str]]]:
    """The checks to show; and check → those after it that failed with the same words, a broker that cannot be reached say."""
    shown: list[Finding] = []
    first: dict[tuple[str, str], str] = {}
    alike: dict[str, list[str]] = {}
    for line in lines:
        known = None if line.ok else first.setdefault((line.seen, line.hint), line.name)
        if known in (None, line.name):
            shown.append(line)
        else:
            alike.setdefault(str(known), []).append(line.name)
    return shown, alike


@keeps_warehouse_open
def replay(
    start: Annotated[dt.date, typer.Option(parser=parse_day, metavar=FORM, help="First session.")],
    end: Annotated[dt.date, typer.Option(parser=parse_day, metavar=FORM, help="Last session.")],
    strategy: Annotated[str | None, typer.Option(help="Which strategy; none: what \\[portfolio] trades.")] = None,
    as_json: AsJson = False,
) -> None:
    """Trade past sessions day by day through the live path, and compare with the simulation trade by trade.

    A broker, a ledger and a clock of its own, thrown away afterwards. Bars and signals are brought up to date first.
    Exit code 1 where a trade differs.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from kobe_jobs.research_run.stale import bring_up_to_date
    from kobe_jobs.research_run.strategies import load_trading_settings, parts_named
    from kobe_jobs.trading.parity.replay import replay as run_replay
    from kobe_resources.market_data.store import warehouse_of

    settings = load_trading_settings()
    parts_named(settings, strategy)
    bring_up_to_date(settings, targets=("daily_bars", "universe", "indicators", "signals"))
    days = max((end - start).days * 252 // 365, 1)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("replaying", total=days)
        result = run_replay(settings, warehouse_of(settings), start, end, strategy, lambda *_: progress.update(task, advance=1))
    if as_json:
        print_json(result.as_json())
    else:
        show_replay(result)
    if not result.agrees:
        raise typer.Exit(1)


def reconcile(
    accept: Annotated[str | None, typer.Option(help="Let the ledger give way where it can, for this reason.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare ledger and broker: orders, fills, positions, cash. Exit code 1 on a difference; nothing is adopted silently."""
    from kobe_assets.report.analysis.metrics_glossary import minus
    from kobe_jobs.research_run.strategies import load_account_settings
    from kobe_jobs.trading.context import open_session, open_trading_context
    from kobe_jobs.trading.reconcile.accept import accept_differences
    from kobe_jobs.trading.reconcile.compare import reconcile_account
    from kobe_jobs.trading.reporting.alerts import alert_if_healed, alert_of_differences
    from kobe_jobs.trading.run_lock import trading_lock

    settings = load_account_settings()
    with open_trading_context(settings, load_secrets()) as trading, trading_lock(trading.ledger, reconciles=True):
        context = open_session(trading, settings.portfolio.book, any_day=True)
        found = reconcile_account(context, "by hand")
        rows = list(found.differences)
        if accept is not None and found.differences:
            rows = accept_differences(context, found, accept, trading.warehouse)
        trading.ledger.copy_audit()
        warn_of(alert_if_healed(settings, trading.ledger))
    agrees = not any(row.halts for row in rows)
    if as_json:
        keys = ("kind", "what", "ledger", "broker", "halts")
        print_json({"agrees": agrees, "differences": [{key: getattr(row, key) for key in keys} for row in rows]})
    elif not context.sends:
        output().say(f"stage {context.stage} sends nothing: there is nothing to compare")
    elif rows:
        table = table_of("Ledger and broker differ", "kind", "what", "ledger", "broker", "halts entries")
        for row in rows:
            table.add_row(row.kind, row.what, minus(row.ledger), minus(row.broker), "yes" if row.halts else "no")
        output().print(table)
    else:
        output().say("ledger and broker agree")
    for note in [] if as_json else context.notes:
        output().say(f"note: {note}")
    if not agrees:
        alert_of_differences(settings, context.account, rows)
        raise typer.Exit(1)


def trace(
    wanted: Annotated[
        str | None,
        typer.Argument(
            metavar="ID",
            help="A client or broker order id, or the beginning of one, or sim:STRATEGY:MODE:SYMBOL:ENTRY_SESSION. "
            "None: list the latest orders.",
        ),
    ] = None,
    last: Annotated[int, typer.Option(min=1, help="Without an ID: how many orders to list.")] = 20,
    everything: Annotated[bool, typer.Option("--all", help="All that is on record, down to bars, settings and audit.")] = False,
    as_json: AsJson = False,
) -> None:
    """Explain an order or a simulated trade in six lines: signal, reading, quote, gate, fill, result.

    With --all also the bars, indicators, settings, versions, decision and audit records behind them.

    Without an ID it lists the latest orders, newest first.
    """
    from kobe_jobs.research_run.strategies import readable_strategies
    from kobe_jobs.trading.context import open_ledger
    from kobe_jobs.trading.reporting.trace import trace as run_trace
    from kobe_resources.market_data.store import warehouse_of

    if wanted is None:
        _list_orders(last, as_json)
        return
    settings = load_settings()
    # An order can be explained without the files of own strategies.
    with open_ledger(settings) as ledger:
        found = run_trace(ledger, warehouse_of(settings), wanted, readable_strategies(settings)[0])
    if as_json:
        print_json(found.as_json())
        return
    console = output()
    console.say(f"{found.kind} {found.id}", style="bold")
    for sentence in found.in_words:
        console.say(sentence)
    if not everything:
        console.say("`kobe trace ID --all` shows all that is on record", style="dim")
    for name, content in found.sections.items() if everything else ():
        console.say(f"\n{name}", style="bold")
        for line in lines_of(content):
            console.say(line)


def _list_orders(count: int, as_json: bool) -> None:
    from kobe_jobs.trading.context import open_ledger
    from kobe_jobs.trading.reporting.order_rows import latest_orders

    with open_ledger(load_settings()) as ledger:
        rows = latest_orders(ledger, count)
    if as_json:
        print_json(rows)
    elif rows:
        console = output()
        console.print(order_table(console, rows, ("session", "stage", "symbol", "side", "leg", "state", "reason")))
        console.say("`kobe trace ID` tells all of one", style="dim")
    else:
        output().say(f"no orders in {ledger.path}: `kobe trade` decides the first")
        output().say("a simulated trade of the report is named sim:STRATEGY:MODE:SYMBOL:ENTRY_SESSION", style="dim")


def _typed(phrase: str, given: str | None) -> str:
    if given is not None:
        return given
    if not sys.stdin.isatty():
        return ""
    console = Screen(stderr=True, highlight=False, soft_wrap=True)
    console.say("This sends real orders with real money. To go on, type:")
    console.print(phrase)
    return str(typer.prompt("", prompt_suffix="> ", err=True))
