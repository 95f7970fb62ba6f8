"""The gates that did not pass, for the terminal; in full those of what is nearest to a yes, in a line those of the others."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

TITLE = "What did not pass, and what would have to change"
REST = "What would have to change for the others: on the page under each verdict, and in `kobe report --json`"


def failed_gates_text(rows: Sequence[dict[str, Any]], width: int) -> str:
    """Number, bar, distance and mend of each gate of what passed most; number and distance of the others' gates.

    Empty where everything passed. rows: of the verdict, as stored; of two that passed as many, the first is told in full.
    """
    failed = [row for row in rows if row.get("failed")]
    if not failed:
        return ""
    nearest = max(failed, key=lambda row: row["gates_passed"] / row["gates"])
    others = [row for row in failed if row is not nearest]
    lines = [TITLE, _name(nearest) + (", the nearest to a yes" if others else "")]
    lines += [textwrap.fill(_gate(gate), width, initial_indent="  ", subsequent_indent="    ") for gate in nearest["failed"]]
    for row in others:
        gates = "; ".join(map(_briefly, row["failed"]))
        lines += [_name(row), textwrap.fill(gates, width, initial_indent="  ", subsequent_indent="  ")]
    return "\n".join([*lines, *([textwrap.fill(REST, width)] if others else [])])


def _name(row: dict[str, Any]) -> str:
    return f"{row['strategy']} {row['mode']}"


def _gate(gate: dict[str, Any]) -> str:
    far = f", {gate['short']}" if gate["short"] else ""
    must = f" (must be {gate['needs']}{far})" if gate["bar"] is not None else ""
    return f"{gate['label']}: {gate['shown']}{must}. {gate['change']}"


def _briefly(gate: dict[str, Any]) -> str:
    return f"{gate['label']}: {gate['shown']}" + (f" ({gate['short']})" if gate["short"] else "")
