"""One simulation over one window, written as files: what `kobe backtest` does."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kobe_assets.graph.frames import book_trades
from kobe_assets.graph.inputs import canonical_params, load_market, parts_of
from kobe_assets.graph.lineage import TABLES
from kobe_assets.research import simulation as sim
from kobe_assets.research.metrics import all_figures, daily_returns, why_undefined
from kobe_assets.research.strategies import STRATEGIES
from kobe_assets.research.walk_forward import Part, simulate_book
from kobe_resources.errors import UsageError
from kobe_resources.runtime.csv_cells import safe_cells
from kobe_resources.settings.models import BOOK, Settings, research_pin
from kobe_resources.warehouse.store import Warehouse

TRADES, CURVE, SUMMARY = "trade_list.csv", "equity_curve.csv", "summary.json"


def run_backtest(settings: Settings, name: str, start: dt.date, end: dt.date, out: Path) -> dict[str, Any]:
    """Simulate `name` over the sessions from `start` to `end` and write the three files; the summary.

    Raises UsageError for a window without sessions, or a folder that cannot be made. An earlier run in `out` is replaced.
    """
    parts = parts_of(settings) if name == BOOK else (Part(STRATEGIES[name], 1.0),)
    warehouse = Warehouse()
    market = load_market(warehouse, settings)
    panel, params = market.panel, [canonical_params(settings, part.strategy) for part in parts]
    first = int(np.searchsorted(panel.sessions, np.datetime64(start)))
    last = int(np.searchsorted(panel.sessions, np.datetime64(end), side="right")) - 1
    if first > last:
        raise UsageError(
            f"no session lies between {start} and {end}", f"the bars run from {panel.sessions[0]} to {panel.sessions[-1]}"
        )
    outcome = simulate_book(market, parts, params, first, last)
    cash = settings.simulation.initial_cash
    figures = all_figures(outcome.equity, outcome.exposure, outcome.numbers[:, sim.PNL], cash)
    summary = {
        "strategy": name,
        "start": str(panel.sessions[first]),
        "end": str(panel.sessions[last]),
        "sessions": last - first + 1,
        "params": params[0] if name != BOOK else {p.strategy.name: own for p, own in zip(parts, params, strict=True)},
        "initial_cash": cash,
        "final_equity": float(outcome.equity[-1]),
        "trades": len(outcome.numbers),
        "refused": outcome.refusals(),
        **figures,
        "undefined": {key: why_undefined(key, len(outcome.numbers) > 0) for key, value in figures.items() if value is None},
        "config_pin": research_pin(settings),
        "data_version": warehouse.content_version(*TABLES["daily_bars"]),
    }
    trades = book_trades([part.strategy for part in parts], outcome, panel)
    curve = pd.DataFrame(
        {
            "session": panel.sessions[first : last + 1].astype("datetime64[s]"),
            "equity": outcome.equity,
            "daily_return": daily_returns(outcome.equity, cash),
            "exposure": outcome.exposure,
        }
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
        _write(out / TRADES, lambda path: safe_cells(trades).to_csv(path, index=False, date_format="%Y-%m-%d"))
        _write(out / CURVE, lambda path: safe_cells(curve).to_csv(path, index=False, date_format="%Y-%m-%d"))
        _write(out / SUMMARY, lambda path: path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{out} cannot be written ({error.strerror})", "name another folder with --out") from error
    return summary


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside `path` and rename, so that a reader never sees half a file."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
