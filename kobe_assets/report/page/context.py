"""What the templates print about one result beside its verdict: rows, and the numbers of sentences; templates escape them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kobe_assets.report.analysis.criteria import Context
from kobe_assets.report.analysis.curves import tidy_one
from kobe_assets.report.analysis.flow import by_frequency, capacity, traded
from kobe_assets.report.analysis.folds import fit, parameter_path, promised_and_given
from kobe_assets.report.analysis.inputs import ReportInputs
from kobe_assets.report.analysis.metrics_glossary import FOLD_FIGURES, Figure, known
from kobe_assets.report.analysis.regimes import regimes_of
from kobe_assets.report.analysis.results import Curve, StrategyResult, as_number, chosen_benchmark_of
from kobe_assets.report.analysis.rules_in_force import rules_in_force
from kobe_assets.report.analysis.verdict import caveats, story

MARGIN = 3.0
"""Percent of the little Sharpe range kept free at both ends."""


def details_of(book: StrategyResult, inputs: ReportInputs, context: Context) -> dict[str, Any]:
    """One book's values for the templates."""
    regimes, why_no_regimes = regimes_of(book, context.benchmark)
    fixed = {name: values[0] for name, values in parameter_path(book).items() if len(set(values)) == 1}
    return {
        "rules": rules_in_force(book, inputs.settings),
        "story": story(book, context.benchmark, inputs.settings.simulation.initial_cash, _chosen(inputs)),
        "caveats": caveats(book, inputs),
        "line": fit(promised_and_given(book)),
        "fixed": parameter_text(fixed),
        "capacity": capacity(book),
        "regimes": regimes,
        "why_no_regimes": why_no_regimes,
        "lag": lag_cost(book),
    }


def _chosen(inputs: ReportInputs) -> tuple[str, Curve] | None:
    """Name and growth of the benchmark that the settings chose, where its bars are stored."""
    name, curve = inputs.settings.report.benchmark, chosen_benchmark_of(inputs)
    return (name, curve) if name and curve is not None else None


def varying_parameters(book: StrategyResult) -> list[str]:
    """Parameters that are not the same in every fold."""
    return [name for name, values in parameter_path(book).items() if len(set(values)) > 1]


def window_rows(book: StrategyResult) -> list[list[Any]]:
    """The rows of the table of test windows: number, first and last session, parameters that vary, then figures.

    The figures: train Sharpe, Sharpe, net profit, worst fall, trades, share of winners, refused signals.
    """
    varying, trades = varying_parameters(book), traded(book)
    return [
        [
            int(row["fold"]),
            str(row["test_start"])[:10],
            str(row["test_end"])[:10],
            parameter_text({name: row["params"].get(name) for name in varying}) or "fixed",
            *(tidy_one(as_number(row[name])) for name in ("train_sharpe", "sharpe", "net_pnl", "max_drawdown")),
            trades[int(row["fold"])],
            tidy_one(as_number(row["win_rate"])),
            sum(by_frequency(row["refused"]).values()),
        ]
        for row in book.folds.to_dict("records")
    ]


def parameter_text(params: dict[str, Any]) -> str:
    """Parameters as `name value`, joined."""
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, int | float) else f"{name} {value}" for name, value in params.items()
    )


def lag_cost(book: StrategyResult) -> dict[str, float] | None:
    """Sharpe ratio with the indicator of the same close (`now`) and `bars` bars late, where both were measured."""
    found = book.evidence.get("lag_cost") or {}
    measured = {int(lag): as_number((value or {}).get("sharpe")) for lag, value in found.items()}
    bars = max(measured, default=0)
    now, late = measured.get(0), measured.get(bars)
    return None if not bars or now is None or late is None else {"bars": bars, "now": now, "late": late}


def figure_groups(books: Sequence[StrategyResult]) -> list[tuple[str, list[Figure]]]:
    """The figures of all books under their headings, in the registry's order."""
    groups: dict[str, list[Figure]] = {}
    for figure in known({name for book in books for name in book.figures} | set(FOLD_FIGURES)):
        groups.setdefault(figure.group, []).append(figure)
    return list(groups.items())


def missing_figures(books: Sequence[StrategyResult]) -> list[tuple[str, str, str]]:
    """(book, figure, reason) of every figure without a value."""
    wanted = [figure for _, figures in figure_groups(books) for figure in figures]
    return [(b.title, f.label, b.why_null(f.name)) for b in books for f in wanted if b.figure(f.name) is None]


def sharpe_ranges(books: Sequence[StrategyResult]) -> dict[str, dict[str, float]]:
    """Where low end, value, high end and zero lie on one common scale of 0..100, for the books that have all three."""
    triples = {book.key: tuple(book.figure(name) for name in ("sharpe_lo", "sharpe", "sharpe_hi")) for book in books}
    whole = {key: [value for value in triple if value is not None] for key, triple in triples.items()}
    ends = [0.0, *(value for values in whole.values() for value in values)]
    low, high = min(ends), max(ends)
    if high == low:
        return {}

    def place(value: float) -> float:
        return round(MARGIN + (100 - 2 * MARGIN) * (value - low) / (high - low), 2)

    return {
        key: {"low": place(values[0]), "mid": place(values[1]), "high": place(values[2]), "zero": place(0.0)}
        for key, values in whole.items()
        if len(values) == 3
    }
