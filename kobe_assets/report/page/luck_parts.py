"""The page's parts about luck, the grid and the strategies together: what their templates print and their charts draw.

A part that was not measured is None for the template, and has its reason in `why` for the chart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kobe_assets.report.analysis.correlation import portfolio_of
from kobe_assets.report.analysis.inputs import ReportInputs
from kobe_assets.report.analysis.results import StrategyResult, parse_object
from kobe_assets.report.page.context import parameter_text
from kobe_resources.settings.models import BOOK

LUCK_CHARTS = ("fan", "worst_falls", "ends", "permutation")
NOT_DRAWN = "Nothing was drawn: report.resamples is 0."
TRIES = "tries", ""
"""Owner of the list of tries in the evidence."""


def with_luck(
    payload: Mapping[str, Any],
    book: StrategyResult,
    grids: Mapping[str, Any],
    together: Mapping[str, Any],
) -> dict[str, Any]:
    """One book's payload with the numbers for the charts of `LUCK_CHARTS`, and in `why` the reasons of those without.

    grids, together: as `grids_payload` and `portfolio_payload` give them.
    """
    drawn, permuted = _part(book, "resampling"), _part(book, "permutation")
    no_trades = "" if len(book.trades) else "No trades."
    why: dict[str, str] = dict(payload["why"])
    if not drawn:
        opens = len(book.trades[["fold", "entry_session"]].drop_duplicates())
        nothing = "All trades entered at one open: there is no other order." if opens == 1 else NOT_DRAWN
        why |= dict.fromkeys(LUCK_CHARTS[:3], no_trades or nothing)
    if not permuted:
        why["permutation"] = no_trades or f"Not measured: {book.why_null('permutation_p')}."
    if book.strategy not in grids:
        portfolio = "The strategies of a portfolio keep the grids they have alone."
        why["heat_map"] = portfolio if book.strategy == BOOK else "No parameter set was tried in training."
    elif not grids[book.strategy]["axes"]:
        why["heat_map"] = "The grid has one parameter set."
    if book.mode not in together:
        why["correlation"] = "One strategy alone has nothing to be compared with."
    return {**payload, "resampling": drawn, "permutation": permuted, "why": why}


def grids_payload(inputs: ReportInputs) -> dict[str, Any]:
    """strategy → its grid, as `Grid.payload`."""
    return {owner: values["heat_map"] for (owner, mode), values in inputs.evidence.items() if not mode and "heat_map" in values}


def portfolio_payload(books: Sequence[StrategyResult]) -> dict[str, Any]:
    """mode → the strategies together, of the modes that have more than one."""
    found = {mode: portfolio_of(books, mode) for mode in dict.fromkeys(book.mode for book in books)}
    return {mode: portfolio for mode, portfolio in found.items() if portfolio}


def luck_context(inputs: ReportInputs, books: Sequence[StrategyResult]) -> dict[str, Any]:
    """What the templates luck, heat_map and portfolio read, as `luck`, `grids`, `tries` and `together`."""
    tries: Mapping[str, Any] = inputs.evidence.get(TRIES, {}).get("tries") or {}
    return {
        "luck": {book.key: {name: _part(book, name) for name in ("resampling", "permutation")} for book in books},
        "grids": grids_payload(inputs),
        "tries": {
            **tries,
            "listed": [(name, parameter_text(params), ratio) for name, params, _, ratio in tries.get("listed", ())],
        }
        if tries
        else None,
        "together": portfolio_payload(books),
    }


def _part(book: StrategyResult, name: str) -> dict[str, Any] | None:
    return parse_object(book.evidence.get(name)) or None
