"""One simulation over one window, written as files: what `kobe backtest` does."""

from __future__ import annotations

import datetime as dt
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kobe_assets.graph.frames import book_trades, trial_rows
from kobe_assets.graph.inputs import canonical_params, load_market, parts_of
from kobe_assets.graph.lineage import TABLES
from kobe_assets.graph.own_strategies import strategies_of
from kobe_assets.research import simulation as sim
from kobe_assets.research.metrics import all_figures, daily_returns, why_undefined
from kobe_assets.research.strategies import BUILT_IN
from kobe_assets.research.strategies.base import refused_value
from kobe_assets.research.walk_forward import Fold, Part, simulate_book
from kobe_resources.errors import UsageError
from kobe_resources.runtime.csv_cells import safe_cells
from kobe_resources.settings.models import BOOK, Settings
from kobe_resources.settings.pins import research_pin
from kobe_resources.warehouse.store import Warehouse, insert

TRADES, CURVE, SUMMARY = "trade_list.csv", "equity_curve.csv", "summary.json"


def parse_changes(settings: Settings, name: str, given: Sequence[str]) -> dict[str, float]:
    """parameter → value of "parameter=value" texts for the strategy or book `name`. Raises UsageError."""
    known = {key for key, _ in _named(_parts(settings, name), _canonical(settings, name), name)}
    changed: dict[str, float] = {}
    for text in given:
        key, _, value = text.partition("=")
        if key not in known:
            raise UsageError(f"{name} has no parameter {key!r}", f"it has {', '.join(sorted(known))}")
        try:
            changed[key] = float(value)
        except ValueError:
            raise UsageError(f"--set {text} names no number", f"write it as --set {key}=1.5") from None
        owner, _, own = key.rpartition(".")
        positive = own in ("atr_stop", "time_stop") or (owner or name) in BUILT_IN
        if not math.isfinite(changed[key]) or (positive and not changed[key] > 0):
            raise UsageError(f"--set {text}: parameters are positive numbers", f"write it as --set {key}=1.5")
        if why := refused_value(own, changed[key]):
            raise UsageError(f"--set {text}", why)
    return changed


def _parts(settings: Settings, name: str) -> tuple[Part, ...]:
    return parts_of(settings) if name == BOOK else (Part(strategies_of(settings)[name], 1.0),)


def _canonical(settings: Settings, name: str) -> list[dict[str, float]]:
    return [canonical_params(settings, part.strategy) for part in _parts(settings, name)]


def _named(parts: Sequence[Part], params: Sequence[dict[str, float]], name: str) -> Iterator[tuple[str, float]]:
    """(parameter, value) of a strategy, (strategy.parameter, value) of a book."""
    for part, own in zip(parts, params, strict=True):
        for key, value in own.items():
            yield (f"{part.strategy.name}.{key}" if name == BOOK else key), value


def _count_tries(
    warehouse: Warehouse, settings: Settings, parts: Sequence[Part], params: Sequence[dict[str, float]], version: str
) -> None:
    """Parameters changed by hand are tries like any other, of fold 0, with no ratio in training."""
    now = dt.datetime.now(dt.UTC)
    fold = Fold(0, 0, 0, 0, 0)
    with warehouse.transaction() as connection:
        for part, own in zip(parts, params, strict=True):
            if own != canonical_params(settings, part.strategy):
                unknown = np.full((1, 1), np.nan)
                rows = trial_rows(part.strategy, [fold], [own], unknown, research_pin(settings), version, now, settings)
                insert(connection, "wf_trials", rows)


def run_backtest(
    settings: Settings,
    name: str,
    start: dt.date | None,
    end: dt.date | None,
    out: Path,
    changed: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Simulate `name` over the sessions from `start` to `end` and write the three files; the summary.

    start, end: none: the first, the last stored session. changed: as `parse_changes` gives it; then the try is recorded.
    Raises UsageError for a window without sessions, or a folder that cannot be made. An earlier run in `out` is replaced.
    """
    parts, warehouse = _parts(settings, name), Warehouse()
    market = load_market(warehouse, settings)
    panel, params = market.panel, _canonical(settings, name)
    for part, own in zip(parts, params, strict=True):
        ahead = f"{part.strategy.name}." if name == BOOK else ""
        own |= {key: value for key in own if (value := (changed or {}).get(ahead + key)) is not None}
    first = 0 if start is None else int(np.searchsorted(panel.sessions, np.datetime64(start)))
    after = len(panel.sessions) if end is None else int(np.searchsorted(panel.sessions, np.datetime64(end), side="right"))
    last = after - 1
    if first > last:
        raise UsageError(
            f"no session lies between {start} and {end}", f"the bars run from {panel.sessions[0]} to {panel.sessions[-1]}"
        )
    outcome = simulate_book(market, parts, params, first, last)
    version = warehouse.content_version(*TABLES["daily_bars"])
    _count_tries(warehouse, settings, parts, params, version)
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
        "warnings": failed_checks(warehouse),
        "config_pin": research_pin(settings),
        "data_version": version,
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


def failed_checks(warehouse: Warehouse) -> list[dict[str, str]]:
    """Name and words of every check that did not pass when its asset was last computed."""
    found = warehouse.rows("SELECT name, description FROM check_results WHERE NOT passed ORDER BY asset, name")
    return [{"name": name, "text": description} for name, description in found]


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside `path` and rename, so that a reader never sees half a file."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
