"""Tables fitted to the columns of a screen: as they are, tighter with cells wrapped by word, or row by row as lines."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from rich.measure import Measurement
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Column, Table


def fitted(console: Console, table: Table) -> Table | Text:
    """The table, its columns fitted in place; its rows as lines of text where the longest words side by side are too wide."""
    if _set_widths(console, table):
        return table
    # Frames take three columns a cell, and a cell that wraps needs them more.
    table.box, table.pad_edge, table.padding = None, False, (0, 1, 0, 0)
    return table if _set_widths(console, table) else _as_lines(console, table)


def _set_widths(console: Console, table: Table) -> bool:
    """Give each column its width, the room that is left going to the ones that wrap; False where their words do not fit."""
    spans = [_span(console, column) for column in table.columns]
    room = console.width - _frame(table)
    if sum(span.minimum for span in spans) > room:
        return False
    widths = [span.minimum for span in spans]
    left = room - sum(widths)
    while left and any(width < span.maximum for width, span in zip(widths, spans, strict=True)):
        for place, span in enumerate(spans):
            if left and widths[place] < span.maximum:
                widths[place] += 1
                left -= 1
    for column, width in zip(table.columns, widths, strict=True):
        # 0 would mean that rich measures again.
        column.width, column.overflow = width or 1, "fold"
    return True


def _span(console: Console, column: Column) -> Measurement:
    cells = [_text(console, cell) for cell in (column.header, *column._cells)]
    found = [Measurement(0, 0), *(Measurement.get(console, console.options.update(width=100_000), cell) for cell in cells)]
    longest = max(span.maximum for span in found)
    # A number and its unit, which stand at the right, are read as one; their heading may wrap.
    whole = found[2:] if column.justify == "right" else found if column.no_wrap else []
    return Measurement(max([*(span.minimum for span in found), *(span.maximum for span in whole)]), longest)


def _frame(table: Table) -> int:
    """Columns that padding and lines take."""
    pads = sum(table._get_padding_width(place) for place in range(len(table.columns)))
    return pads + (len(table.columns) + 1 if table.box and table.show_edge else len(table.columns) - 1 if table.box else 0)


def _as_lines(console: Console, table: Table) -> Text:
    """Every row as its first cell, then "heading value" of the others that are not empty, wrapped by word."""
    heads = [_text(console, column.header).plain for column in table.columns]
    lines = [Text(str(table.title), style="bold")] if table.title else []
    for row in zip_longest(*(column._cells for column in table.columns), fillvalue=""):
        cells = [_text(console, cell).plain for cell in row]
        pairs = [f"{head} {cell}".strip() for head, cell in zip(heads[1:], cells[1:], strict=True) if cell]
        lines += [Text(cells[0]), *(Text("  ") + line for line in _packed(pairs, console.width - 2))]
    return Text("\n", overflow="ignore", no_wrap=True).join(lines)


def _packed(pairs: list[str], width: int) -> list[Text]:
    """The pairs on as few lines as hold them, a pair whole on one where it fits."""
    import textwrap

    lines: list[str] = []
    for pair in pairs:
        if lines and len(lines[-1]) + 2 + len(pair) <= width:
            lines[-1] += f", {pair}"
            continue
        lines += textwrap.wrap(pair, width, break_long_words=False, break_on_hyphens=False) or [""]
    return [Text(line) for line in lines]


def _text(console: Console, cell: object) -> Text:
    return cell if isinstance(cell, Text) else console.render_str(str(cell))
