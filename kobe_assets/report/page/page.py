"""The page: one HTML file that opens offline, and how it is put in its place.

Templates escape everything; the only script that may run is the two blocks whose hash the page's own policy names, so a
string from the data could not run even if it reached the page unescaped.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from kobe_assets.report.analysis.cautions import SYNTHETIC, as_sentence, is_synthetic
from kobe_assets.report.analysis.criteria import GATES, QUESTIONS
from kobe_assets.report.analysis.flow import MEANING, MONEY_REASONS
from kobe_assets.report.analysis.inputs import ReportInputs
from kobe_assets.report.analysis.metrics_glossary import FIGURES, known, show
from kobe_assets.report.analysis.results import StrategyResult, books_of, default_book
from kobe_assets.report.analysis.trade_stats import EXIT_MEANING
from kobe_assets.report.analysis.verdict import ANSWER_WORDS, context_of, headline, verdict_of
from kobe_assets.report.page import appendix
from kobe_assets.report.page.chart_data import inert_json, page_payload
from kobe_assets.report.page.context import details_of, figure_groups, missing_figures, sharpe_ranges
from kobe_assets.report.page.glossary import NOTES, SOURCES_OF_STRATEGIES
from kobe_assets.report.page.luck_parts import luck_context
from kobe_resources.runtime.atomic_files import write_whole

TEMPLATES = Path(__file__).resolve().parent / "templates"
STATIC = Path(__file__).resolve().parent / "static"
SCRIPTS = (
    *("core.js", "frame.js", "curves.js", "folds.js", "trades.js", "risk.js", "luck.js", "heat_map.js", "portfolio.js"),
    *("listing.js", "tables.js", "main.js"),
)
STYLES = ("page.css", "parts.css")
LATEST = "kpi_report.html"
KEPT = 10
"""Older pages that stay beside the latest."""


def build_report(inputs: ReportInputs, now: dt.datetime, books: Sequence[StrategyResult] | None = None) -> str:
    """The report as HTML. now: aware time printed as the time of making; nothing else depends on it.

    books: those of the inputs, where the caller has them.
    """
    books = books_of(inputs) if books is None else books
    context = context_of(inputs)
    verdicts = [verdict_of(book, context) for book in books]
    opened = default_book(books, inputs)
    return str(
        _environment()
        .get_template("page.html.j2")
        .render(
            made=now.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            headline=headline(verdicts),
            invented=as_sentence(SYNTHETIC) if is_synthetic(inputs.settings) else "",
            verdicts=verdicts,
            opened=opened.key if opened else "",
            strategies=list(dict.fromkeys(book.strategy for book in books)),
            modes=list(dict.fromkeys(book.mode for book in books)),
            folds=sorted({int(fold) for book in books for fold in book.folds["fold"]}),
            questions=QUESTIONS,
            answer_words=ANSWER_WORDS,
            details={book.key: details_of(book, inputs, context) for book in books},
            ranges=sharpe_ranges(books),
            figure_groups=figure_groups(books),
            missing=missing_figures(books),
            gates=GATES,
            glossary=known(FIGURES),
            notes=NOTES,
            sources=SOURCES_OF_STRATEGIES,
            facts=appendix.data_facts(inputs),
            checks=appendix.checks(inputs),
            quarantine=appendix.quarantine(inputs),
            doctor=appendix.doctor(inputs),
            universe=appendix.universe_table(inputs),
            rejections=appendix.rejections(inputs),
            exit_meaning=EXIT_MEANING,
            reason_meaning=MEANING,
            money_reasons=MONEY_REASONS,
            pins=dict(sorted(inputs.pins.items())),
            versions=dict(sorted(inputs.versions.items(), key=lambda item: (":" in item[0], item[0].lower()))),
            settings_toml=appendix.settings_toml(inputs.settings),
            slippage=inputs.settings.costs.slippage_bps,
            lag=inputs.settings.strategy.indicator_lag_bars,
            **luck_context(inputs, books),
            policy=_policy(),
            style=_text(STYLES),
            plotly=_plotly(),
            script=_script(),
            payload=inert_json(page_payload(inputs, books, context)),
        )
    )


def write_report(html: str, folder: Path) -> Path:
    """Put the page into `folder` as `kpi_report.html`, the latest, and as a copy named by its content, which stays.

    The latest one's path is given. Both appear whole or not at all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = html.encode("utf-8")
    kept = folder / f"kpi_report-{hashlib.sha256(content).hexdigest()[:12]}.html"
    if not kept.exists():
        write_whole(kept, content)
    write_whole(folder / LATEST, content)
    copies = sorted(folder.glob("kpi_report-*.html"), key=lambda path: path.stat().st_mtime_ns)
    for old in copies[:-KEPT]:
        old.unlink(missing_ok=True)
    return folder / LATEST


@lru_cache(maxsize=1)
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["show"] = show
    return environment


@lru_cache(maxsize=1)
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return _closed(get_plotlyjs())


@lru_cache(maxsize=1)
def _script() -> str:
    return _closed('"use strict";\n(() => {\n' + _text(SCRIPTS) + "\n})();")


def _text(names: Sequence[str]) -> str:
    return "\n".join((STATIC / name).read_text(encoding="utf-8") for name in names)


def _closed(script: str) -> str:
    """A script that cannot end its own element."""
    return script.replace("</script", "<\\/script")


@lru_cache(maxsize=1)
def _policy() -> str:
    """A content security policy: no network, no script but ours."""
    digests = (hashlib.sha256(script.encode()).digest() for script in (_plotly(), _script()))
    scripts = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    rest = "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    return f"default-src 'none'; script-src {scripts}; {rest}"
