"""The gates that did not pass, for the terminal: number, bar, distance, and what would have to change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

NARROW = 100
"""Columns below which a gate takes lines of its own."""


def failed_gates_table(rows: Sequence[dict[str, Any]]) -> Table:
    """One line a gate, by strategy and mode. rows: of the verdict, as the report stores them."""
    from rich.table import Table

    table = Table(title="What did not pass, and what would have to change", title_justify="left")
    table.add_column("strategy, mode", no_wrap=True)
    for name in ("gate", "is", "must be", "distance", "what would have to change"):
        table.add_column(name, justify="right" if name in ("is", "must be", "distance") else "left")
    for row in rows:
        for index, gate in enumerate(row.get("failed") or ()):
            book = f"{row['strategy']} {row['mode']}" if index == 0 else ""
            told = (gate["label"], gate["shown"], gate["needs"], gate["short"] or "–", gate["change"])
            table.add_row(book, *told, end_section=index == len(row["failed"]) - 1)
    return table


def failed_gates_lines(rows: Sequence[dict[str, Any]]) -> str:
    """The same for a narrow terminal."""
    lines = []
    for row in rows:
        for gate in row.get("failed") or ():
            far = f", {gate['short']}" if gate["short"] else ""
            lines.append(f"{row['strategy']} {row['mode']}: {gate['label']} is {gate['shown']}, must be {gate['needs']}{far}")
            lines.append(f"  {gate['change']}")
    return "\n".join(lines)
