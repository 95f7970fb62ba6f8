"""One simulation over one window, written as files: what `kobe backtest` does."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kobe_assets.checks.research import describe_leak_with_place, signals_read_no_future
from kobe_assets.graph.frames import trial_rows
from kobe_assets.graph.inputs import canonical_params, market_and_version, parts_of, stored_symbols
from kobe_assets.graph.lineage import DEPENDS
from kobe_assets.graph.own_strategies import strategies_of
from kobe_assets.report.analysis.day_returns import WHY_UNDEFINED
from kobe_assets.report.analysis.one_run import BookRun, run_book
from kobe_assets.report.analysis.trade_stats import by_exit, why_none_averaged
from kobe_assets.report.page.run_page import build_run_page
from kobe_assets.research.metrics import FIGURES, why_undefined
from kobe_assets.research.panel import Floats
from kobe_assets.research.strategies import BUILT_IN
from kobe_assets.research.strategies.base import refused_value
from kobe_assets.research.walk_forward import Fold, Part
from kobe_resources.errors import KobeError, UsageError, did_you_mean
from kobe_resources.runtime.atomic_files import FOR_OTHERS, write_whole
from kobe_resources.runtime.csv_cells import safe_cells
from kobe_resources.runtime.report_index import RUN_PAGE
from kobe_resources.settings.models import BOOK, Settings
from kobe_resources.settings.pins import research_pin
from kobe_resources.warehouse.store import Warehouse, insert

STANDS_ON = ("daily_bars", "universe", "indicators")
"""What a backtest reads of the assets; checks of the others judged what an earlier report computed, of older sources maybe."""
TRADES, CURVE, SUMMARY, PAGE = "trade_list.csv", "equity_curve.csv", "summary.json", RUN_PAGE


def parse_changes(settings: Settings, name: str, given: Sequence[str]) -> dict[str, float]:
    """parameter → value of "parameter=value" texts for the strategy or book `name`. Raises UsageError."""
    known = {key for key, _ in _named(_parts(settings, name), _canonical(settings, name), name)}
    changed: dict[str, float] = {}
    for text in given:
        key, _, value = (part.strip() for part in text.partition("="))
        if key not in known:
            last = key.removeprefix("strategy.").removeprefix("parameters.")
            last = last if name == BOOK else last.removeprefix(f"{name}.")
            if last in known:
                raise UsageError(f"--set gives {name} parameters, and {key} names a setting", f"write --set {last}={value}")
            if "." in key and key.partition(".")[0] in Settings.model_fields:
                mend = f"write KOBE_{key.upper().replace('.', '__')}={value} before the command, or it into kobe.toml"
                raise UsageError(f"--set gives a strategy other parameters, and {key} is a setting", mend)
            raise UsageError(f"{name} has no parameter {key!r}{did_you_mean(key, known)}", f"it has {', '.join(sorted(known))}")
        if key in changed:
            raise UsageError(f"--set gives {key} twice", "give it once")
        owner, _, own = key.rpartition(".")
        hint = f"write it as --set {key}={5 if own == 'time_stop' else 1.5}"
        try:
            changed[key] = float(value)
        except ValueError:
            raise UsageError(f"--set {text} names no number", hint) from None
        positive = own in ("atr_stop", "time_stop") or (owner or name) in BUILT_IN
        if not math.isfinite(changed[key]) or (positive and not changed[key] > 0):
            raise UsageError(f"--set {text}: parameters are positive numbers", hint)
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
    """Record parameters changed by --set as tries of fold 0, with no ratio in training."""
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
    """Simulate `name` over the sessions from `start` to `end`, look for lookahead, write the files; the summary.

    start, end: none: the first, the last stored session. changed: as `parse_changes` gives it; then the try is recorded.
    Raises UsageError for a window without sessions, KobeError for a folder that cannot be written. It replaces an earlier run.
    """
    parts, warehouse = _parts(settings, name), Warehouse()
    (market, version), params = market_and_version(warehouse, settings), _canonical(settings, name)
    for part, own in zip(parts, params, strict=True):
        ahead = f"{part.strategy.name}." if name == BOOK else ""
        own |= {key: value for key in own if (value := (changed or {}).get(ahead + key)) is not None}
    run = run_book(market, name, parts, params, start, end)
    _count_tries(warehouse, settings, parts, params, version)
    strategies = {part.strategy.name: part.strategy for part in parts}
    leak = signals_read_no_future(market, dict(zip(strategies, params, strict=True)), strategies=strategies)
    lookahead = describe_leak_with_place(leak, strategies) if leak else ""
    holding = run.holding(settings)
    summary = {
        **_summary_of(run, holding),
        "held": run.held(holding),
        "notes": run.notes(settings, stored_symbols(warehouse)),
        "lookahead": lookahead or None,
        "warnings": failed_checks(warehouse, STANDS_ON),
        "config_pin": research_pin(settings),
        "data_version": version,
    }
    page = build_run_page(run, holding, summary["notes"], lookahead, summary["warnings"], dt.datetime.now(dt.UTC))
    _write_files(out, run, summary, page)
    return summary


def earlier_run(out: Path) -> dict[str, Any] | None:
    """The summary of the run whose files lie in `out`; None where there is none that can be read."""
    try:
        found = json.loads((out / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"strategy", "start", "end", "params"} <= found.keys() else None


def describe_replaced(earlier: Mapping[str, Any] | None, summary: Mapping[str, Any]) -> str:
    """The earlier run in words where it is another one than that of `summary`; empty without one."""
    if earlier is None:
        return ""
    told, now = _in_words(earlier), _in_words(summary)
    if told != now:
        return told
    same = all(earlier.get(key) == summary[key] for key in ("config_pin", "data_version"))
    return "" if same else f"{told}, with other settings or bars"


def _in_words(summary: Mapping[str, Any]) -> str:
    params = json.dumps(summary["params"], sort_keys=True).translate(str.maketrans("", "", '{}":'))
    return f"{summary['strategy']} from {summary['start']} to {summary['end']}, {params}"


def _summary_of(run: BookRun, holding: Floats) -> dict[str, Any]:
    """What summary.json says of the run itself."""
    names = [part.strategy.name for part in run.parts]
    params = [dict(own) for own in run.params]
    figures, traded = run.told(holding), len(run.trades) > 0
    return {
        "strategy": run.name,
        "start": run.window[0],
        "end": run.window[1],
        "sessions": len(run.equity),
        "params": params[0] if run.name != BOOK else dict(zip(names, params, strict=True)),
        "initial_cash": run.initial_cash,
        "trades": len(run.trades),
        "refused": run.outcome.refusals(),
        **figures,
        "exits_by_reason": [{"reason": name, "trades": count, "net_pnl": pnl} for name, count, pnl in by_exit(run.trades)],
        "undefined": {name: _why_undefined(name, traded) for name, value in figures.items() if value is None},
    }


def _why_undefined(name: str, traded: bool) -> str:
    if name in FIGURES:
        return why_undefined(name, traded)
    return WHY_UNDEFINED.get(name) or why_none_averaged(name, traded)


def _write_files(out: Path, run: BookRun, summary: Mapping[str, Any], page: str) -> None:
    def as_csv(frame: pd.DataFrame) -> str:
        return str(safe_cells(frame).to_csv(index=False, date_format="%Y-%m-%d"))

    curve = run.equity[["session", "equity", "daily_return", "exposure"]]
    texts = {TRADES: as_csv(run.trades), CURVE: as_csv(curve), SUMMARY: json.dumps(summary, indent=2) + "\n", PAGE: page}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_whole(out / name, text.encode("utf-8"), mode=FOR_OTHERS)
    except OSError as error:
        raise KobeError(
            f"{out} cannot be written ({error.strerror})", "name another folder with --out, or free space"
        ) from error


def failed_checks(warehouse: Warehouse, assets: Collection[str] = DEPENDS) -> list[dict[str, str]]:
    """Name and words of every check of these assets that did not pass when its asset was last computed."""
    sql = "SELECT name, description FROM check_results WHERE NOT passed AND list_contains(?, asset) ORDER BY asset, name"
    found = warehouse.rows(sql, [list(assets)])
    return [{"name": name, "text": description} for name, description in found]
