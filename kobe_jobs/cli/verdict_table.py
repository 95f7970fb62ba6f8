"""The verdict of a report in a terminal: a row a strategy and mode, and one of buying and holding the same stocks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from kobe_resources.warehouse.store import Warehouse

Rows = list[dict[str, Any]]
Holding = dict[str, float | None]
HOLDING = {"sharpe": "ratio", "cagr": "percent", "max_drawdown": "percent"}
"""What is told of holding, and its unit."""
HELD = "holding, equal parts"


def holding_figures(warehouse: Warehouse) -> Holding | None:
    """Figures of the universe in equal parts, bought and held over the sessions of the test windows; None without its curve."""
    stored = warehouse.rows(
        "SELECT CAST(value AS VARCHAR) FROM evidence"
        " WHERE strategy = 'universe' AND mode = 'benchmark' AND name = 'buy_and_hold'"
    )
    days = [day for (day,) in warehouse.rows("SELECT DISTINCT session FROM wf_equity ORDER BY session")]
    points = json.loads(stored[0][0] or "[]") if stored else []
    if not points or not days:
        return None
    import numpy as np

    from kobe_assets.report.analysis.results import Curve, on_sessions, returns_of
    from kobe_assets.research.metrics import curve_figures

    curve = Curve(np.array([day for day, _ in points], "datetime64[D]"), np.array([growth for _, growth in points], float))
    return curve_figures(returns_of(on_sessions(curve, np.array(days, "datetime64[D]"))))


def verdict_lines(rows: Rows, holding: Holding | None) -> str:
    """The same for a narrow terminal: two lines a strategy and mode."""
    from kobe_assets.report.analysis.metrics_glossary import show, show_range

    lines = [
        f"{row['strategy']} {row['mode']}: {row['verdict']} "
        f"({row['gates_passed']}/{row['gates']} gates, {row['trades']:,} trades)\n"
        f"  Sharpe {show(row['sharpe'], 'ratio')} ({show_range(row['sharpe_lo'], row['sharpe_hi'], 'ratio')}), "
        f"growth a year {show(row['cagr'], 'percent')}, worst fall {show(row['max_drawdown'], 'percent')}"
        for row in rows
    ]
    if holding:
        sharpe, cagr, fall = (show(holding[name], unit) for name, unit in HOLDING.items())
        lines.append(f"{HELD}: Sharpe {sharpe}, growth a year {cagr}, worst fall {fall}")
    return "\n".join(lines)


def verdict_table(rows: Rows, holding: Holding | None) -> Table:
    """Out-of-sample figures and the verdict, one line a strategy and mode."""
    from rich.table import Table

    from kobe_assets.report.analysis.metrics_glossary import show, show_range

    table = Table(title="Out of sample, after costs", title_justify="left")
    for name in ("strategy", "mode"):
        table.add_column(name, no_wrap=True)
    for name in ("Sharpe", "95 % range", "growth\na year", "worst fall", "trades", "gates"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict")
    for row in rows:
        table.add_row(
            row["strategy"],
            row["mode"],
            show(row["sharpe"], "ratio"),
            show_range(row["sharpe_lo"], row["sharpe_hi"], "ratio"),
            show(row["cagr"], "percent"),
            show(row["max_drawdown"], "percent"),
            f"{row['trades']:,}",
            f"{row['gates_passed']}/{row['gates']}",
            row["verdict"],
        )
    if holding:
        sharpe, cagr, fall = (show(holding[name], unit) for name, unit in HOLDING.items())
        table.add_section()
        table.add_row("holding", "equal parts", sharpe, "", cagr, fall, "", "", "")
    return table
