"""Heat maps as one SVG: a row of maps a strategy, for a file beside a sweep and for the metadata of the asset."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from kobe_assets.report.analysis.heat_map import Grid, HeatMap, maps_of
from kobe_assets.report.analysis.metrics_glossary import show

CELL_WIDTH, CELL_HEIGHT, LEFT, TOP, GAP = 92, 40, 92, 56, 34
NARROWEST = 560
LEGEND = "mean Sharpe ratio in training, others at their best; ★ best; framed: fixed parameters; n× chosen"
INK, SOFT, PAPER = "#1d1c1a", "#625e57", "#ffffff"
GAIN, LOSS = (140, 190, 170), (218, 159, 151)
"""Colours of the best and of the worst, pale enough for ink."""


def heat_map_svg(grids: Sequence[Grid]) -> str:
    """The maps of every pair of parameters of every grid; empty without any."""
    parts: list[str] = []
    wide, y = 0, 0
    for grid in grids:
        maps = maps_of(grid)
        if not maps:
            continue
        most = max((abs(value) for value in grid.mean if value is not None), default=1.0) or 1.0
        parts.append(_text(0, y + 16, grid.strategy, 15, bold=True))
        x, high = 0, 0
        for found in maps:
            parts.append(_map(grid, found, most, x, y + 22))
            x += LEFT + CELL_WIDTH * len(grid.axes[found.across]) + GAP
            high = max(high, TOP + CELL_HEIGHT * len(found.mean) + 26)
        wide, y = max(wide, x), y + 22 + high + GAP
    if not parts:
        return ""
    wide = max(wide, NARROWEST)
    size = f'width="{wide}" height="{y}" viewBox="0 0 {wide} {y}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">'
    legend = _text(0, y - 8, LEGEND, 11)
    return f'{head}<rect width="100%" height="100%" fill="{PAPER}"/>{"".join(parts)}{legend}</svg>\n'


def heat_map_markdown(grids: Sequence[Grid]) -> str:
    """The same as a picture that Markdown carries in itself."""
    svg = heat_map_svg(grids)
    return f"![heat map](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})" if svg else "no trial on record"


def _map(grid: Grid, found: HeatMap, most: float, x: int, y: int) -> str:
    across, down = grid.axes[found.across], grid.axes[found.down] if found.down else [None]
    plateau = "" if found.plateau is None else f", plateau {show(found.plateau, 'ratio')}"
    title = f"{found.across} × {found.down}" if found.down else found.across
    parts = [_text(x, y + 14, title + plateau, 12)]
    for column, value in enumerate(across):
        parts.append(_text(x + LEFT + CELL_WIDTH * column + CELL_WIDTH // 2, y + TOP - 8, f"{value:g}", 11, middle=True))
    # The largest value of the parameter stands at the top, as on the page.
    for line, row in enumerate(reversed(range(len(down)))):
        top = y + TOP + CELL_HEIGHT * line
        if down[row] is not None:
            parts.append(_text(x, top + CELL_HEIGHT // 2 + 4, f"{down[row]:g}", 11))
        for column in range(len(across)):
            parts.append(_cell(found, row, column, most, x + LEFT + CELL_WIDTH * column, top))
    return "".join(parts)


def _cell(found: HeatMap, row: int, column: int, most: float, x: int, y: int) -> str:
    value, traded = found.mean[row][column], len(found.traded[row][column])
    words = show(value, "ratio") if value is not None else "–"
    words = f"★ {words}" if (row, column) == found.best else words
    framed = f' stroke="{INK}" stroke-width="2"' if (row, column) == found.canonical else ""
    place = f'x="{x + 1}" y="{y + 1}" width="{CELL_WIDTH - 3}" height="{CELL_HEIGHT - 3}"'
    box = f'<rect {place} fill="{_colour(value, most)}"{framed}/>'
    label = _text(x + CELL_WIDTH // 2, y + (18 if traded else 24), words, 12, middle=True)
    return box + label + (_text(x + CELL_WIDTH // 2, y + 32, f"{traded}×", 10, middle=True) if traded else "")


def _colour(value: float | None, most: float) -> str:
    share = 0.0 if value is None else min(abs(value) / most, 1.0)
    tint = GAIN if (value or 0.0) >= 0 else LOSS
    return "#" + "".join(f"{round(255 + (part - 255) * share):02x}" for part in tint)


def _text(x: int, y: int, text: str, size: int, middle: bool = False, bold: bool = False) -> str:
    anchor = ' text-anchor="middle"' if middle else ""
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{INK if size > 11 else SOFT}"{anchor}{weight}>{escape(text)}</text>'
