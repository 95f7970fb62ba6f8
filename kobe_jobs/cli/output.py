"""What the trading commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kobe_jobs.cli.screen import Screen, print_json

if TYPE_CHECKING:
    from rich.table import Table

    from kobe_jobs.trading.reporting.summary import RunSummary

WIDE, SHORT_ID = 140, 17
"""On a terminal of fewer columns an order's id is cut to so many characters: `kobe trace` takes the beginning of one."""

HEADINGS = {"leg": "for", "kind": "order", "qty": "shares", "reason": "why"}

NUMBERS = (
    "shares", "entry", "close", "stop", "limit", "price", "dollars", "P&L", "P&L, %", "bars", "bars held", "last close",
    "open or stop", "slippage, bps", "trades", "net profit", "a trade",
)  # fmt: skip
"""Columns of numbers."""

SHOWN_WITH_DETAIL = ("VETOED", "REJECTED", "UNKNOWN", "NOT_PLACED")
"""States of an order whose reason is followed by its detail: the fault of the quote, or the broker's words."""


def show_summary(summary: RunSummary, as_json: bool) -> None:
    """What a run did, as a table or as JSON."""
    if as_json:
        print_json(summary.as_json())
        return
    console = output()
    console.say(f"{summary.strategy} on {summary.session}, stage {summary.stage}", style="bold")
    table = table_of("", "", "")
    for step, count in summary.waterfall():
        table.add_row(step.replace("_", " "), str(abs(count)))
    for reason, count in sorted(summary.exits.items()):
        table.add_row(f"exits: {reason.replace('_', ' ')}", str(count))
    table.add_row("protective stops", str(summary.stops))
    table.add_row("budget used", f"${float(summary.budget_used):,.2f}")
    console.print(table)
    if summary.orders:
        columns = ("symbol", "side", "leg", "kind", "qty", "dollars", "state", "filled", "reason")
        console.print(order_table(console, summary.orders, columns))
    for note in summary.notes:
        console.say(f"note: {note}")
    if summary.untraded:
        console.say("nothing was traded: the market is shut", style="bold")
    if summary.halted:
        console.say(f"halted: {summary.halted}", style="bold red")
    console.print(f"audit head {summary.audit_head}", style="dim", soft_wrap=True, highlight=False)


def order_table(console: Screen, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> Table:
    """Orders, a row each, with the `columns` of `reporting.order_rows` and `filled`, as a trader reads them."""
    from kobe_jobs.trading.reporting.order_rows import STATE_WORDS

    table = table_of("", "id", *(HEADINGS.get(name, name) for name in columns))
    for row in rows:
        average = row["filled_avg_price"]
        filled = "" if average is None else f"{shares_text(row['filled_qty'])} at {float(average):.4f}"
        words = {
            "filled": filled, "reason": _reason(row).replace("_", " "), "qty": shares_text(row.get("qty", "0")),
            "kind": _priced(row), "dollars": "" if row.get("dollars") is None else f"${float(row['dollars']):,.2f}",
        }  # fmt: skip
        shown = {**row, **words, "state": STATE_WORDS.get(row["state"], row["state"].lower())}
        is_cut = console.is_terminal and console.width < WIDE
        order = row["client_order_id"][:SHORT_ID] if is_cut else row["client_order_id"]
        table.add_row(order, *(str(shown[name]) for name in columns))
    return table


def _priced(row: dict[str, Any]) -> str:
    """The kind of an order with the limit or the stop that it carries; of one that was refused before it had any, the kind."""
    price = row.get("limit_price") or row.get("stop_price")
    kind = row.get("kind", "")
    return kind if price is None else f"{kind} {float(price):,.{2 if float(price) >= 1 else 4}f}"


def shares_text(shares: float | str) -> str:
    """A number of shares, with up to four digits of a fraction."""
    return f"{float(shares):,.4f}".rstrip("0").rstrip(".")


def _reason(row: dict[str, Any]) -> str:
    """The reason of an order, with its detail where that says more."""
    tells_more = row["detail"] and row["state"] in SHOWN_WITH_DETAIL
    return ": ".join(filter(None, (row["reason"], row["detail"]))) if tells_more else str(row["reason"])


def show_replay(result: Any) -> None:
    """The verdict of a replay, and every difference."""
    console = output()
    verdict = "the live path trades as the simulation does" if result.agrees else f"{len(result.mismatches)} differences"
    console.say(
        f"{result.strategy} from {result.start} to {result.end}: {result.sessions} sessions, {len(result.live)} trades,"
        f" {len(result.simulated)} simulated, {result.seconds:.1f} s",
    )
    if result.mismatches:
        table = table_of("", "class", "symbol", "signal", "what", "simulated", "live")
        for row in result.mismatches:
            table.add_row(row.kind, row.symbol, str(row.signal_session), row.what, str(row.simulated), str(row.live))
        console.print(table)
    console.say(f"parity: {verdict}", style="bold green" if result.agrees else "bold red")


def lines_of(content: Any, indent: str = "  ") -> list[str]:
    """Nested values as indented lines."""
    if isinstance(content, dict):
        lines = []
        for key, value in content.items():
            nested = isinstance(value, dict | list) and value
            lines += [f"{indent}{key}:", *lines_of(value, indent + "  ")] if nested else [f"{indent}{key}: {value}"]
        return lines
    if isinstance(content, list):
        return [indent + ", ".join(_pairs(row)) for row in content] or [f"{indent}none"]
    return [f"{indent}{content}"]


def _pairs(row: Any) -> list[str]:
    if not isinstance(row, dict):
        return [str(row)]
    return [
        f"{key} {json.dumps(value) if isinstance(value, dict) else value}"
        for key, value in row.items()
        if value not in (None, "")
    ]


def output() -> Screen:
    """Standard output."""
    return Screen()


def table_of(title: str, *columns: str) -> Table:
    """An empty table, its numbers to the right; without names it has no header."""
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", show_header=any(columns))
    for name in columns:
        table.add_column(name, overflow="fold", justify="right" if name in NUMBERS else "left")
    return table
