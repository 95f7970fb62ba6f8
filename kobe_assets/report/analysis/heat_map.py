"""Heat maps of a strategy's grid: how each parameter set did in training, and what was traded of it on unseen sessions.

A good set among good neighbours is a plateau; a good one among bad ones is a lucky spike.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kobe_assets.report.analysis.curves import tidy_one
from kobe_assets.report.analysis.results import as_number
from kobe_assets.research.walk_forward import OPTIMIZED
from kobe_resources.runtime.sql_files import read_sql

if TYPE_CHECKING:
    from kobe_resources.warehouse.store import Warehouse

HERE = Path(__file__).parent
Value = float | None


@dataclass(frozen=True)
class Grid:
    """The parameter sets of one strategy over its folds.

    axes: parameter → its values, ascending; those that vary. sets: of each set the place of its value on every axis.
    mean: of each set, the mean train Sharpe ratio over the folds that have one. folds: (fold, chosen set, test Sharpe ratio)
    of mode optimized, the set None where what was chosen is not of the grid. canonical: the set of the fixed parameters, None
    where it is not of the grid.
    """

    strategy: str
    axes: dict[str, list[float]]
    sets: list[list[int]]
    mean: list[Value]
    folds: list[tuple[int, int | None, Value]]
    canonical: int | None

    def pairs(self) -> list[tuple[str, str]]:
        """Every pair of parameters that vary, across and down; a single one stands alone, with none down."""
        names = list(self.axes)
        return list(itertools.combinations(names, 2)) if len(names) > 1 else [(name, "") for name in names]

    def payload(self) -> dict[str, Any]:
        """The grid as JSON holds it."""
        mean = [tidy_one(value) for value in self.mean]
        folds = [[fold, chosen, tidy_one(value)] for fold, chosen, value in self.folds]
        return {"axes": self.axes, "sets": self.sets, "mean": mean, "folds": folds, "canonical": self.canonical}


@dataclass(frozen=True)
class HeatMap:
    """Two parameters of a grid, the others at their best or fixed; cells are [down][across].

    mean: of the cell's best set. unseen: mean test Sharpe ratio of the folds that traded the cell; traded: those folds.
    best, canonical: (down, across). plateau: mean of the cells around the best one (up to 8) over the best; None where the
    best is not above 0 or stands alone.
    """

    across: str
    down: str
    mean: list[list[Value]]
    unseen: list[list[Value]]
    traded: list[list[list[int]]]
    best: tuple[int, int] | None
    canonical: tuple[int, int] | None
    plateau: Value


def read_grids(warehouse: Warehouse, pin: str, version: str, canonical: Mapping[str, Mapping[str, float]]) -> list[Grid]:
    """The grid of each strategy that has trials. pin, version: research pin, data version. canonical: by strategy."""
    found = warehouse.frame(read_sql(HERE, "heat_map_trials"), {"pin": pin, "version": version})
    folds = warehouse.frame(
        "SELECT strategy, fold, params::VARCHAR AS params, sharpe FROM wf_folds WHERE mode = ? ORDER BY strategy, fold",
        [OPTIMIZED],
    )
    return [
        make_grid(
            str(strategy),
            [json.loads(text) for text in own["params"]],
            [as_number(value) for value in own["sharpe"]],
            [
                (int(row.fold), json.loads(row.params), as_number(row.sharpe))
                for row in folds[folds["strategy"] == strategy].itertuples()
            ],
            canonical.get(str(strategy), {}),
        )
        for strategy, own in found.groupby("strategy")
    ]


def stored_grids(evidence: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[Grid]:
    """The grids that the evidence holds, by strategy."""
    found = sorted(
        (owner, values["heat_map"]) for (owner, mode), values in evidence.items() if not mode and "heat_map" in values
    )
    return [
        Grid(
            owner, dict(kept["axes"]), list(kept["sets"]), list(kept["mean"]),
            [(int(fold), chosen, value) for fold, chosen, value in kept["folds"]], kept["canonical"],
        )
        for owner, kept in found
    ]  # fmt: skip


def make_grid(
    strategy: str,
    sets: Sequence[Mapping[str, float]],
    mean: Sequence[Value],
    folds: Sequence[tuple[int, Mapping[str, float], Value]],
    canonical: Mapping[str, float],
) -> Grid:
    """A grid from parameter sets. folds: (fold, chosen parameters, test Sharpe ratio)."""
    values = {name: sorted({float(own[name]) for own in sets}) for name in (sets[0] if sets else {})}
    axes = {name: levels for name, levels in values.items() if len(levels) > 1}
    places = [[axes[name].index(float(own[name])) for name in axes] for own in sets]
    number = {_key(own): k for k, own in enumerate(sets)}
    chosen = [(fold, number.get(_key(own)), value) for fold, own, value in folds]
    return Grid(strategy, axes, places, list(mean), chosen, number.get(_key(canonical)))


def heat_map(grid: Grid, across: str, down: str, fixed: Mapping[str, float] | None = None) -> HeatMap:
    """The map of two parameters (`down` may be empty). fixed: other parameters and their values; the rest are at their best."""
    names = list(grid.axes)
    wide, high = len(grid.axes[across]), len(grid.axes[down]) if down else 1
    x, y = names.index(across), names.index(down) if down else None
    wanted = {names.index(name): grid.axes[name].index(value) for name, value in (fixed or {}).items()}

    def cell(k: int | None) -> tuple[int, int] | None:
        if k is None or any(grid.sets[k][axis] != place for axis, place in wanted.items()):
            return None
        return (0 if y is None else grid.sets[k][y]), grid.sets[k][x]

    mean: list[list[Value]] = [[None] * wide for _ in range(high)]
    traded: list[list[list[int]]] = [[[] for _ in range(wide)] for _ in range(high)]
    unseen: list[list[list[float]]] = [[[] for _ in range(wide)] for _ in range(high)]
    for k, value in enumerate(grid.mean):
        if (at := cell(k)) and value is not None:
            known = mean[at[0]][at[1]]
            mean[at[0]][at[1]] = value if known is None else max(known, value)
    for fold, chosen, value in grid.folds:
        if at := cell(chosen):
            traded[at[0]][at[1]].append(fold)
            if value is not None:
                unseen[at[0]][at[1]].append(value)
    ranked = [
        (value, -row, -column) for row, cells in enumerate(mean) for column, value in enumerate(cells) if value is not None
    ]
    best = (-max(ranked)[1], -max(ranked)[2]) if ranked else None
    averages: list[list[Value]] = [[float(np.mean(own)) if own else None for own in cells] for cells in unseen]
    return HeatMap(across, down, mean, averages, traded, best, cell(grid.canonical), _plateau(mean, best))


def maps_of(grid: Grid) -> list[HeatMap]:
    """The map of every pair, the other parameters at their best."""
    return [heat_map(grid, across, down) for across, down in grid.pairs()]


def _plateau(mean: list[list[Value]], best: tuple[int, int] | None) -> Value:
    if best is None or (top := mean[best[0]][best[1]]) is None or not top > 0:
        return None
    rows, columns = range(max(best[0] - 1, 0), best[0] + 2), range(max(best[1] - 1, 0), best[1] + 2)
    around = [
        value
        for row in rows
        for column in columns
        if (row, column) != best and row < len(mean) and column < len(mean[0]) and (value := mean[row][column]) is not None
    ]
    return float(np.mean(around)) / top if around else None


def _key(params: Mapping[str, float]) -> str:
    return json.dumps({name: float(value) for name, value in params.items()}, sort_keys=True)
