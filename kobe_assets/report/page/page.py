"""The page: one HTML file that opens offline, and how it is put in its place.

Templates escape everything; the only scripts that may run are ours and plotly, whose hashes the page's own policy names, so a
string from the data could not run even if it reached the page unescaped. Plotly, the numbers behind the charts, the trades
and their bars are packed; static/unpack.js unpacks each when it is wanted.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

from kobe_assets.graph.own_strategies import strategies_of
from kobe_assets.report.analysis.cautions import SYNTHETIC, as_sentence, is_synthetic
from kobe_assets.report.analysis.criteria import GATES, QUESTIONS
from kobe_assets.report.analysis.flow import MEANING, MONEY_REASONS
from kobe_assets.report.analysis.inputs import ReportInputs
from kobe_assets.report.analysis.metrics_glossary import FIGURES, known, show
from kobe_assets.report.analysis.recorded_checks import checks
from kobe_assets.report.analysis.results import StrategyResult, books_of, default_book, mode_words
from kobe_assets.report.analysis.trade_stats import EXIT_MEANING
from kobe_assets.report.analysis.verdict import ANSWER_WORDS, context_of, headline, verdict_of
from kobe_assets.report.page import appendix
from kobe_assets.report.page.chart_data import drawn_columns, inert_json, page_payload
from kobe_assets.report.page.context import details_of, figure_groups, missing_figures, sharpe_ranges
from kobe_assets.report.page.glossary import NOTES, SOURCES_OF_STRATEGIES
from kobe_assets.report.page.luck_parts import luck_context
from kobe_assets.report.page.packed_data import PackedData, packed_data
from kobe_assets.report.page.packing import pack_json, pack_text
from kobe_assets.report.page.summary import summary_of
from kobe_resources.runtime.atomic_files import write_whole
from kobe_resources.runtime.report_summary import LATEST, summary_in

PAGE = "page.html.j2"
"""The template of the report."""
TEMPLATES = Path(__file__).resolve().parent / "templates"
STATIC = Path(__file__).resolve().parent / "static"
SCRIPTS = (
    "basics.js", "core.js", "unpack.js", "address.js", "frame.js", "drawing.js", "tables.js", "calendar.js", "curves.js",
    "folds.js", "trades.js", "risk.js", "luck.js", "heat_map.js", "portfolio.js", "trade_rows.js", "listing.js",
    "trade_table.js", "trade_dialog.js", "main.js",
)  # fmt: skip
BOOT = ("boot.js",)
"""The only script that is not packed: it unpacks the others."""
STYLES = ("page.css", "parts.css")
SECTIONS = (
    ("verdict", "Verdict"), ("tomorrow", "At the next open"),
    ("account", "The account"), ("calendar", "Month by month"), ("together", "Together"),
    ("luck", "Skill or luck"), ("chance", "Other outcomes"), ("entries", "Other entries"), ("tries", "Everything tried"),
    ("grid", "Every parameter set"), ("folds", "Test windows"), ("costs", "Costs and size"), ("regimes", "When it works"),
    ("signals", "Signals to trades"), ("trades", "The trades"), ("figures", "Every figure"), ("data", "The data"),
    ("words", "Words"), ("again", "Make it again"),
)  # fmt: skip
"""Element → its name in the contents."""
OF_NO_BOOK = ("verdict", "tomorrow", "data", "words", "again")
TEXTS = {
    "questions": QUESTIONS, "answer_words": ANSWER_WORDS, "gates": GATES, "glossary": known(FIGURES), "notes": NOTES,
    "sources": SOURCES_OF_STRATEGIES, "exit_meaning": EXIT_MEANING, "reason_meaning": MEANING, "money_reasons": MONEY_REASONS,
}  # fmt: skip
"""What the template says whatever the run: questions, gates, and the meaning of figures and reasons."""
DATA_FOLDER = re.compile("data-[0-9a-f]{12}")
"""How `packed_data` names the folder beside a page; whatever else lies there is a person's."""
KEPT = 10
"""Copies that stay beside the latest unless a setting says otherwise."""


def build_report(
    inputs: ReportInputs,
    now: dt.datetime,
    books: Sequence[StrategyResult] | None = None,
    packed: PackedData | None = None,
    next_orders: Mapping[str, Any] | None = None,
) -> str:
    """The report as HTML. now: aware time printed as the time of making; nothing else depends on it.

    books, packed: those of the inputs, where the caller has them. next_orders: what the next run would send, and what for;
    without anything in it the page has no such part.
    """
    books = books_of(inputs) if books is None else books
    context = context_of(inputs)
    verdicts = [verdict_of(book, context) for book in books]
    opened, luck = opened_key(books, inputs), luck_context(inputs, books)
    packed = packed_of(inputs, books) if packed is None else packed
    if next_orders and not any(next_orders[name] for name in ("entries", "exits", "refused")):
        next_orders = None
    # To pack the millions of letters of plotly takes gzip a third of a second, in which it lets other threads work.
    with ThreadPoolExecutor(1) as beside:
        plotly = beside.submit(packed_plotly)
        return str(
            page_template(PAGE).render(
                made=now.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
                headline=headline(verdicts),
                invented=as_sentence(SYNTHETIC) if is_synthetic(inputs.settings) else "",
                verdicts=verdicts,
                opened=opened,
                **_choices(books),
                sections=_sections(books, {**luck, "tomorrow": next_orders}),
                next_orders=next_orders,
                mode_words=mode_words,
                details={book.key: details_of(book, inputs, context) for book in books},
                ranges=sharpe_ranges(books),
                figure_groups=figure_groups(books),
                missing=missing_figures(books),
                checks=checks(inputs),
                **TEXTS,
                **appendix.parts_of(inputs),
                **luck,
                policy=script_policy(plotly_script(), _script(), boot_script()),
                style=static_text(STYLES),
                script=pack_text(_script()),
                boot=boot_script(),
                payload=pack_json(page_payload(inputs, books, context, packed)),
                plotly=plotly.result(),
                packed=packed,
                summary=inert_json(summary_of(inputs, verdicts, now, packed.folder)),
            )
        )


def _sections(books: Sequence[StrategyResult], parts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The contents: those of `SECTIONS` that the page has."""
    missing = {name for name in ("together", "tries", "tomorrow") if not parts[name]}
    return [(name, title) for name, title in SECTIONS if name not in missing and (books or name in OF_NO_BOOK)]


def _choices(books: Sequence[StrategyResult]) -> dict[str, Any]:
    """What a reader may choose from: strategies, modes with their words, and the numbers of the folds."""
    return {
        "strategies": list(dict.fromkeys(book.strategy for book in books)),
        "modes": {book.mode: mode_words(book.mode) for book in books},
        "folds": sorted({int(fold) for book in books for fold in book.folds["fold"]}),
    }


def opened_key(books: Sequence[StrategyResult], inputs: ReportInputs) -> str:
    """The key of the book that the page opens with; empty where there is none."""
    opened = default_book(books, inputs)
    return opened.key if opened else ""


def packed_of(inputs: ReportInputs, books: Sequence[StrategyResult]) -> PackedData:
    """The trades and bars of the page, with the indicators that its charts of trades draw."""
    declared = drawn_columns(strategies_of(inputs.settings).values())
    return packed_data(inputs, books, opened_key(books, inputs), declared)


def write_report(html: str, folder: Path, packed: PackedData | None = None, keep: int = KEPT) -> Path:
    """Put the page into `folder` as `kpi_report.html`, the latest, and as a copy named by its content, which stays.

    The latest one's path is given. Both appear whole or not at all. packed: what lies beside the page. keep: copies that
    stay, the newest ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if packed is not None and packed.beside and not (folder / packed.folder).exists():
        _write_beside(packed, folder)
    content = html.encode("utf-8")
    kept = folder / f"kpi_report-{hashlib.sha256(content).hexdigest()[:12]}.html"
    if not kept.exists():
        write_whole(kept, content)
    write_whole(folder / LATEST, content)
    prune(folder, keep)
    return folder / LATEST


def _write_beside(packed: PackedData, folder: Path) -> None:
    """The folder of data beside the page, which appears whole: it is named by its content, so one that is there is right."""
    with tempfile.TemporaryDirectory(prefix=".data-", dir=folder) as made:
        whole = Path(made) / packed.folder
        whole.mkdir()
        for name, text in packed.beside.items():
            (whole / name).write_text(text, encoding="ascii")
        with contextlib.suppress(FileExistsError):
            whole.rename(folder / packed.folder)


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` copies, and the data that no page left needs; no data where a page cannot be read."""
    copies = sorted(folder.glob("kpi_report-*.html"), key=lambda path: path.stat().st_mtime_ns)
    for old in copies[: max(0, len(copies) - keep)]:
        old.unlink(missing_ok=True)
    try:
        needed = {str((summary_in(page) or {}).get("data") or "") for page in folder.glob("*.html")}
    except (OSError, ValueError):
        return
    for beside in folder.iterdir():
        if DATA_FOLDER.fullmatch(beside.name) and beside.is_dir() and beside.name not in needed:
            shutil.rmtree(beside, ignore_errors=True)


@lru_cache(maxsize=2)
def page_template(name: str) -> Any:
    """A template that escapes what it prints."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["show"] = show
    return environment.get_template(name)


@lru_cache(maxsize=1)
def plotly_script() -> str:
    """Plotly as it runs in the page."""
    from plotly.offline import get_plotlyjs

    return closed_script(get_plotlyjs())


@lru_cache(maxsize=1)
def packed_plotly() -> str:
    """The same, packed."""
    return pack_text(plotly_script())


@lru_cache(maxsize=1)
def _script() -> str:
    return one_script(SCRIPTS)


@lru_cache(maxsize=1)
def boot_script() -> str:
    """What unpacks the other scripts."""
    return one_script(BOOT)


def one_script(names: Sequence[str]) -> str:
    """Scripts of `static/` as one, whose names no other script sees."""
    return closed_script('"use strict";\n(() => {\n' + static_text(names) + "\n})();")


def static_text(names: Sequence[str]) -> str:
    """Files of `static/`, one after the other."""
    return "\n".join((STATIC / name).read_text(encoding="utf-8") for name in names)


def closed_script(script: str) -> str:
    """A script that cannot end its own element."""
    return script.replace("</script", "<\\/script")


@lru_cache(maxsize=2)
def script_policy(*scripts: str) -> str:
    """A content security policy: no network, no script but these."""
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    # Where the page lies, style sheets with data may lie beside it; not every browser counts a disk as its own.
    rest = "style-src 'unsafe-inline' 'self' file:; img-src data: blob:; base-uri 'none'; form-action 'none'"
    return f"default-src 'none'; script-src {allowed}; {rest}"
