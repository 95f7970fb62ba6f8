"""Heat maps of the grids for the terminal: one table a pair of parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kobe_assets.report.analysis.heat_map import Grid, HeatMap, maps_of
from kobe_assets.report.analysis.metrics_glossary import show

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

LEGEND = "mean Sharpe ratio in training, other parameters at their best; ★ best, [ ] fixed parameters, n× folds that chose it"


def heat_map_tables(grid: Grid) -> Iterator[tuple[str, Table]]:
    """(title, table) of every pair of parameters of one strategy."""
    from rich.table import Table

    most = max((abs(value) for value in grid.mean if value is not None), default=1.0) or 1.0
    for found in maps_of(grid):
        plateau = "none" if found.plateau is None else show(found.plateau, "ratio")
        pair = f"{found.down} down, {found.across} across" if found.down else found.across
        table = Table()
        table.add_column(found.down, justify="right")
        for value in grid.axes[found.across]:
            table.add_column(f"{value:g}", justify="center", no_wrap=True)
        down = grid.axes[found.down] if found.down else [None]
        # The largest value of the parameter stands at the top, as on the page.
        for row in reversed(range(len(down))):
            cells = [_cell(found, row, column, most) for column in range(len(grid.axes[found.across]))]
            table.add_row("" if down[row] is None else f"{down[row]:g}", *cells)
        yield f"{grid.strategy}: {pair}; plateau {plateau}", table


def _cell(found: HeatMap, row: int, column: int, most: float) -> Text:
    from rich.text import Text

    value, unseen, traded = found.mean[row][column], found.unseen[row][column], len(found.traded[row][column])
    words = "–" if value is None else show(value, "ratio")
    words = f"★ {words}" if (row, column) == found.best else words
    words = f"[{words}]" if (row, column) == found.canonical else words
    if traded:
        words += f" {traded}×" + ("" if unseen is None else f" → {show(unseen, 'ratio')}")
    share = 0.0 if value is None else abs(value) / most
    colour = "" if value is None or share < 0.34 else ("green" if value > 0 else "red")
    return Text(words, style=f"bold {colour}" if share > 0.67 and colour else colour)


def heat_map_json(grid: Grid) -> dict[str, object]:
    """The grid and its maps for `--json`."""
    from dataclasses import asdict

    return {"strategy": grid.strategy, **grid.payload(), "maps": [asdict(found) for found in maps_of(grid)]}
