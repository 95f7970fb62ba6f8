"""Fold by fold: what was chosen, what training promised, what unseen sessions gave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kobe_assets.report.analysis.curves import tidy_one
from kobe_assets.report.analysis.results import StrategyResult, as_number


@dataclass(frozen=True)
class FittedLine:
    """A least-squares line of out-of-sample on in-sample Sharpe over `n` folds; `r` is the correlation."""

    slope: float
    intercept: float
    r: float
    n: int


def promised_and_given(book: StrategyResult) -> list[tuple[int, float, float]]:
    """(fold, train Sharpe, test Sharpe) of the folds that have both."""
    found = []
    for fold, trained, tested in zip(*(book.folds[name] for name in ("fold", "train_sharpe", "sharpe")), strict=True):
        promised, given = as_number(trained), as_number(tested)
        if promised is not None and given is not None:
            found.append((int(fold), promised, given))
    return found


def fit(points: list[tuple[int, float, float]]) -> FittedLine | None:
    """The line through the points; None under three points or where they do not vary."""
    if len(points) < 3:
        return None
    x, y = np.array([p[1] for p in points]), np.array([p[2] for p in points])
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    dx, dy = x - x.mean(), y - y.mean()
    slope = float(dx @ dy / (dx @ dx))
    return FittedLine(slope, float(y.mean() - slope * x.mean()), float(dx @ dy / np.sqrt((dx @ dx) * (dy @ dy))), len(points))


def parameter_path(book: StrategyResult) -> dict[str, list[float | None]]:
    """Parameter → its value in each fold, in the order of the folds; those that vary first."""
    names = sorted({name for params in book.folds["params"] for name in params})
    paths = {name: [_number(params.get(name)) for params in book.folds["params"]] for name in names}
    return dict(sorted(paths.items(), key=lambda item: (len(set(item[1])) == 1, item[0])))


def fold_payload(book: StrategyResult) -> dict[str, Any]:
    """The folds as the page draws them."""
    points = promised_and_given(book)
    line = fit(points)
    return {
        "folds": [
            {
                "fold": int(row["fold"]),
                "from": str(row["test_start"])[:10],
                "to": str(row["test_end"])[:10],
            }
            for row in book.folds.to_dict("records")
        ],
        "scatter": [[fold, tidy_one(x, 4), tidy_one(y, 4)] for fold, x, y in points],
        "line": None if line is None else [tidy_one(line.slope), tidy_one(line.intercept), tidy_one(line.r, 3), line.n],
        "path": parameter_path(book),
    }


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
