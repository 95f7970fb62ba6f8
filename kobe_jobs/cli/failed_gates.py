"""The gates that did not pass, for the terminal: number, bar, distance, and what would have to change."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

TITLE = "What did not pass, and what would have to change"


def failed_gates_text(rows: Sequence[dict[str, Any]], width: int) -> str:
    """A paragraph a gate under each strategy and mode; empty where everything passed. rows: of the verdict, as stored."""
    lines = []
    for row in rows:
        failed = row.get("failed") or ()
        if failed:
            lines.append(f"{row['strategy']} {row['mode']}")
        for gate in failed:
            far = f", {gate['short']}" if gate["short"] else ""
            must = f" (must be {gate['needs']}{far})" if gate["bar"] is not None else ""
            text = f"{gate['label']}: {gate['shown']}{must}. {gate['change']}"
            lines.append(textwrap.fill(text, width, initial_indent="  ", subsequent_indent="    "))
    return "\n".join([TITLE, *lines]) if lines else ""
