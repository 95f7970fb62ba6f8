"""What the index of reports shows of a page and two pages are compared by, small, at the page's beginning."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kobe_assets.report.analysis.curves import tidy
from kobe_assets.report.analysis.inputs import ReportInputs
from kobe_assets.report.analysis.metrics_glossary import known, show
from kobe_assets.report.analysis.results import StrategyResult
from kobe_assets.report.analysis.verdict import Verdict, headline
from kobe_assets.report.page.appendix import shown_settings

POINTS = 160
"""Points of a curve at most: enough to draw one over the other."""


def summary_of(inputs: ReportInputs, verdicts: Sequence[Verdict], now: dt.datetime, data: str) -> dict[str, Any]:
    """A page in short. data: the folder beside it, where it has one."""
    spans = inputs.spans
    return {
        "made": now.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "headline": headline(verdicts),
        "vendor": inputs.settings.data.vendor,
        "first": "" if spans.empty else str(spans["first_session"].min())[:10],
        "last": "" if spans.empty else str(spans["last_session"].max())[:10],
        "cash": inputs.settings.simulation.initial_cash,
        "settings": flat(shown_settings(inputs.settings)),
        "versions": dict(inputs.versions),
        "data": data,
        "books": [_book(verdict) for verdict in verdicts],
    }


def flat(values: Mapping[str, Any], ahead: str = "") -> dict[str, Any]:
    """Nested settings as dotted names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{ahead}{name}.") if isinstance(value, Mapping) else {f"{ahead}{name}": value}
    return found


def _book(verdict: Verdict) -> dict[str, Any]:
    book = verdict.book
    figures = known(book.figures)
    return {
        "title": book.title,
        "verdict": verdict.word,
        "passed": verdict.passed,
        "gates": len(verdict.results),
        "trades": len(book.trades),
        "figures": [[one.label, show(book.figure(one.name), one.unit)] for one in figures],
        "curve": _thinned(book),
    }


def _thinned(book: StrategyResult) -> dict[str, list[Any]]:
    """Some of the curve's sessions, the last one among them, and growth of 1 there."""
    count = len(book.curve)
    rows = np.unique(np.linspace(0, count - 1, min(count, POINTS)).round().astype(int)) if count else np.empty(0, dtype=int)
    days = book.curve["session"].to_numpy().astype("datetime64[D]")[rows]
    return {"days": [str(day) for day in days], "growth": tidy(book.curve["growth"].to_numpy(float)[rows], 5)}
