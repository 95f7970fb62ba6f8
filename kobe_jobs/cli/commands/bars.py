"""`kobe bars`: load or top up bars, what vendors restated, bars as they are or once stood as files, and what is doubtful."""

from __future__ import annotations

import datetime as dt
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from kobe_jobs.cli.dates import FORM, parse_day
from kobe_jobs.cli.kept_warehouse import keeps_warehouse_open
from kobe_jobs.cli.screen import Screen, print_json
from kobe_resources.errors import UsageError
from kobe_resources.settings.load import load_settings
from kobe_resources.settings.models import FilesData
from kobe_resources.settings.secrets import load_secrets

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID
    from rich.table import Table

    from kobe_assets.graph.doubts import Doubt
    from kobe_resources.market_data import SyncReport


SUMMED_UP = 10
"""Symbols whose revisions are summed up before all are listed."""
MOST_REASONS = 20
"""Reasons that are told one by one; of more, those that differ in a symbol, a day or a number only are told as one."""


def register(app: typer.Typer) -> None:
    """Add this area's commands."""
    area = typer.Typer(name="bars", help="Daily bars: load, top up, and what their source restated.", no_args_is_help=True)
    area.command()(refresh)
    area.command()(revisions)
    area.command("as-of")(as_of)
    area.command()(export)
    area.command()(doctor)
    area.command("import")(import_files)
    app.add_typer(area)


@keeps_warehouse_open
def refresh(
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Read the source even where it has not changed; over a network: last sessions, symbols with gaps, "
            "all splits and dividends.",
        ),
    ] = False,
    symbol: Annotated[
        list[str] | None, typer.Option(help="Over a network: ask for all bars of this symbol again; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Load bars from the vendor of the settings, or top them up. Stopped half way, it goes on where it was."""
    from kobe_assets import checks
    from kobe_resources.market_data import AGING, open_vendor
    from kobe_resources.market_data.history import describe_revisions
    from kobe_resources.market_data.polygon.checkpoints import forget_bars
    from kobe_resources.runtime.sql_files import read_sql
    from kobe_resources.warehouse.store import Warehouse

    vendor = open_vendor(load_settings(), load_secrets())
    warehouse = Warehouse()
    if symbol:
        if vendor.name not in AGING:
            raise UsageError(f"{vendor.name} is read whole, not by symbol", "leave --symbol out, or say --force")
        forget_bars(warehouse, symbol, vendor.name)
    began = dt.datetime.now(dt.UTC)
    with _bar() as bar:
        report = vendor.sync(warehouse, DrawnProgress(bar), force)
    changed = describe_revisions(warehouse, began)
    aside = warehouse.rows(read_sql(Path(checks.__file__).parent, "set_aside_rows"), {"most": MOST_REASONS})
    if as_json:
        reasons = [
            {"reason": reason, "rows": rows, "symbol": symbol, "session": session, "line": line}
            for symbol, session, reason, rows, line, _, _ in aside
        ]
        print_json({**asdict(report), "set_aside": reasons, "told": changed})
    else:
        _print_report(report, changed)
        _print_set_aside(aside)


def import_files(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Files or folders: CSV, Parquet, Excel, zip, gz.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what was understood, and write nothing.")] = False,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="MEANING=NAME", help="What a column means, as close=Adj; may be repeated."),
    ] = None,
    symbol: Annotated[str | None, typer.Option(help="The symbol of files that name none.")] = None,
    dates: Annotated[str | None, typer.Option(help="The order of dates such as 3/4/2020: mdy or dmy.")] = None,
    decimal: Annotated[str | None, typer.Option(help="The decimal mark where the numbers leave it open: . or ,")] = None,
    adjusted: Annotated[
        bool, typer.Option("--adjusted", help="Take adjusted prices, and turn the splits that are known back.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was understood and written as JSON.")] = False,
) -> None:
    """Read bars in any common shape (yfinance, Stooq, Tiingo, Nasdaq and others) into the folder of data.files.path."""
    from kobe_jobs.cli.import_output import show_understood, show_written
    from kobe_resources.market_data.importing.folder import target_of, write
    from kobe_resources.market_data.importing.reading import parse_columns, read_files
    from kobe_resources.market_data.importing.staging import Wishes
    from kobe_resources.market_data.importing.telling import describe_import

    if dates not in (None, "mdy", "dmy") or decimal not in (None, ".", ","):
        raise UsageError("--dates is mdy or dmy, --decimal is . or ,", "leave it out where the files tell")
    data = load_settings().data
    wishes = Wishes(parse_columns(column or []), symbol, dates, decimal, adjusted)
    written = None
    with _bar() as bar:
        progress = DrawnProgress(bar)
        with read_files(paths, target_of(data.files.path), wishes, data.files.max_bad_rows, progress) as reading:
            understood = describe_import(reading)
            if not as_json:
                show_understood(understood, bar.console)
            if not dry_run:
                written = write(reading, progress)
    if as_json:
        print_json({**understood, "written": written.as_json() if written else None})
    elif written:
        show_written(written, data.vendor)


@keeps_warehouse_open
def revisions(
    symbol: Annotated[str | None, typer.Option(help="Only this symbol's.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of them as JSON.")] = False,
) -> None:
    """What the source later gave differently: the old value, the new one, and when it was seen. Newest first."""
    from kobe_resources.market_data.export import refuse_unknown
    from kobe_resources.market_data.history import describe_revisions
    from kobe_resources.market_data.history import revisions as read_revisions
    from kobe_resources.market_data.store import warehouse_of

    warehouse = warehouse_of(load_settings())
    rows = read_revisions(warehouse, symbol)
    if symbol and not len(rows):
        refuse_unknown([symbol], [name for (name,) in warehouse.rows("SELECT DISTINCT symbol FROM daily_bars")])
    if as_json:
        rows["session"] = rows["session"].dt.strftime("%Y-%m-%d")
        typer.echo(rows.to_json(orient="records", date_format="iso", double_precision=15))
        return
    screen = Screen()
    if not len(rows):
        screen.say("No bar was ever restated.")
        return
    for line in describe_revisions(warehouse, symbol=symbol, most=SUMMED_UP):
        screen.say(line)
    table = _table("symbol", "session", "field", "old", "new", "seen at (UTC)")
    for row in rows.head(limit).to_dict(orient="records"):
        old = "" if row["old"] != row["old"] else f"{row['old']:,.10g}"
        new = "taken back" if row["new"] != row["new"] else f"{row['new']:,.10g}"
        seen = f"{row['seen_at']:%Y-%m-%d %H:%M:%S}"
        table.add_row(row["symbol"], f"{row['session']:%Y-%m-%d}", row["field"], old, new, seen)
    screen.print(table)
    if len(rows) > limit:
        screen.say(f"{len(rows) - limit:,} older ones; see --limit and --json", style="dim")


@keeps_warehouse_open
def as_of(
    moment: Annotated[str, typer.Argument(help="A past moment, ISO 8601; UTC unless it says otherwise.")],
    out: Annotated[
        Path, typer.Option(help="Folder to write bars.parquet, splits.csv, candidates.csv and the settings in force into.")
    ],
    as_csv: Annotated[bool, typer.Option("--csv", help="Write bars.csv instead of bars.parquet.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write the bars as they stood at a past moment, in a folder that the vendor `files` reads: an old report, again."""
    from kobe_assets.report.page.appendix import settings_toml
    from kobe_resources.market_data.history import export_as_of
    from kobe_resources.market_data.store import warehouse_of

    try:
        when = dt.datetime.fromisoformat(moment)
    except ValueError:
        raise UsageError(f"{moment!r} is no moment", "write it like 2024-05-01T22:00") from None
    when = when if when.tzinfo else when.replace(tzinfo=dt.UTC)
    if when > dt.datetime.now(dt.UTC):
        raise UsageError(f"{moment} has not come yet", "give a past moment")
    config = out.resolve() / "kobe.toml"
    if config.exists():
        raise UsageError(f"{config} is there already", "name an empty folder")
    settings = load_settings()
    name = "bars.csv" if as_csv else "bars.parquet"
    own = settings.data.model_copy(update={"vendor": "files", "files": FilesData(path=Path(name))})
    count = export_as_of(warehouse_of(settings), when, out, name)
    # The vendor decides some defaults: what was in force for the old one is written out for `files`.
    config.write_text(settings_toml(settings.model_copy(update={"data": own})), encoding="utf-8")
    where = str(out.resolve())
    variables = {
        "KOBE_HOME": f"{where}/home",
        "KOBE_CONFIG": f"{where}/kobe.toml",
        "KOBE_DATA__VENDOR": "files",
        "KOBE_DATA__FILES__PATH": where,
    }
    again = " ".join([*(f"{name}={shlex.quote(value)}" for name, value in variables.items()), "kobe report"])
    if as_json:
        print_json({"folder": where, "as_of": when.isoformat(), "bars": count, "next": [again]})
        return
    screen = Screen(highlight=False, soft_wrap=True)
    screen.say(f"{count:,} bars as of {when:%Y-%m-%d %H:%M:%S %Z} in {out}")
    screen.print(again, style="dim")


def export(
    out: Annotated[Path, typer.Argument(help="The file to write, .csv or .parquet; one that is there is replaced.")],
    symbol: Annotated[list[str] | None, typer.Option(help="Only this symbol; repeatable.")] = None,
    start: Annotated[dt.date | None, typer.Option(parser=parse_day, metavar=FORM, help="First session.")] = None,
    end: Annotated[dt.date | None, typer.Option(parser=parse_day, metavar=FORM, help="Last session.")] = None,
    adjusted: Annotated[bool, typer.Option("--adjusted", help="Adjusted for splits, with the factor; else as traded.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the path and the number of bars as JSON.")] = False,
) -> None:
    """Write the stored bars into one file, for another program."""
    from kobe_resources.market_data.export import export_bars
    from kobe_resources.market_data.store import warehouse_of

    count = export_bars(warehouse_of(load_settings()), out, symbol or (), start, end, adjusted)
    if as_json:
        print_json({"file": str(out), "bars": count})
        return
    Screen(highlight=False, soft_wrap=True).say(f"{count:,} bars in {out}")


@keeps_warehouse_open
def doctor(
    limit: Annotated[int, typer.Option(min=1, help="The worst so many.")] = 40,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of them as JSON.")] = False,
) -> None:
    """Every doubt about the stored bars, worst first: what was seen, what it does to a result, and the mend."""
    from kobe_assets.checks.doctor import diagnose
    from kobe_resources.market_data.store import warehouse_of

    settings = load_settings()
    doubts = diagnose(warehouse_of(settings), settings)
    if as_json:
        print_json([asdict(doubt) for doubt in doubts])
        return
    screen = Screen()
    if not doubts:
        screen.say("No doubt about the stored bars.")
        return
    screen.print(_doubt_table(doubts[:limit]), highlight=False)
    counts = Counter(doubt.kind for doubt in doubts)
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.most_common())
    screen.say(f"{len(doubts):,} doubts: {kinds}")
    if len(doubts) > limit:
        screen.say(f"{len(doubts) - limit:,} lesser ones are not shown; see --limit and --json", style="dim")


def _doubt_table(doubts: Sequence[Doubt]) -> Table:
    from rich import box
    from rich.table import Table

    from kobe_assets.report.analysis.metrics_glossary import minus

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("doubt", "symbol", "session"):
        table.add_column(column, no_wrap=True, max_width=21)
    for column in ("seen", "does", "mend"):
        table.add_column(column)
    for doubt in doubts:
        earned = minus(f"{doubt.pnl:+,.0f} dollars")
        trades = f"; {doubt.trades:,} trades over it, {earned}" if doubt.trades else ""
        cells = (doubt.kind, doubt.symbol, str(doubt.session or ""), doubt.seen, doubt.effect + trades, doubt.mend)
        table.add_row(*cells)
    return table


class DrawnProgress:
    """A vendor's progress as a bar on the terminal, with the time left."""

    def __init__(self, bar: Bar) -> None:
        self.bar = bar
        self.task: TaskID | None = None

    def start(self, what: str, total: int, unit: str) -> None:
        """Draw a new bar; the one before is done."""
        if self.task is not None:
            self.bar.update(self.task, total=self.bar.tasks[-1].completed)
        self.task = self.bar.add_task(escape(what), total=total, unit=unit, note="")

    def advance(self, count: int = 1, note: str = "") -> None:
        """Move the bar on."""
        if self.task is not None:
            self.bar.update(self.task, advance=count, note=escape(note))


def _bar() -> Bar:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    screen = Screen(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
        console=screen,
        # In a file or a pipe the bar would be noise around the one line that counts.
        disable=not screen.is_terminal,
    )


def _print_report(report: SyncReport, changed: list[str]) -> None:
    screen = Screen(highlight=False, soft_wrap=True)
    span = f"{report.first_session} to {report.last_session}"
    screen.say(f"{report.vendor}: {report.bars:,} bars, {report.symbols:,} symbols, {report.sessions:,} sessions, {span}")
    if report.skipped:
        screen.say("The source has not changed since it was loaded; nothing was read (--force reads it again).")
        return
    done = f"{report.added:,} added, {report.changed:,} restated, {report.removed:,} taken back, {report.unchanged:,} unchanged"
    calls = f", {report.calls:,} calls" if report.calls else ""
    screen.say(f"{done}{calls} in {report.seconds:.1f} s")
    for note in (*changed, *report.notes):
        screen.say(note)
    if report.revisions:
        screen.say(f"{report.revisions:,} old values kept: see `kobe bars revisions`")


def _print_set_aside(aside: list[tuple[Any, ...]]) -> None:
    """How many rows of the source are not among the bars, and the first of each reason; which names are read otherwise."""
    from kobe_resources.market_data.set_aside import READ_AS

    screen = Screen(highlight=False, soft_wrap=True)
    named = [row for row in aside if READ_AS in row[2]]
    for _, _, reason, *_ in named:
        screen.say(f"  {reason}")
    dropped = [row for row in aside if READ_AS not in row[2]]
    if dropped:
        screen.say(f"{dropped[0][-1] - sum(row[3] for row in named):,} rows are set aside, and are not among the bars:")
    for symbol, session, reason, rows, line, _, _ in dropped:
        where = " ".join(str(part) for part in (symbol, session, f"line {line}" if line else None) if part)
        screen.say(f"  {rows:,} x {reason}" + (f" (the first: {where})" if where else ""))


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in ("old", "new") else "left", no_wrap=True)
    return table
