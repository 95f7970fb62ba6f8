"""The numbers behind the charts as one JSON value, small and inert inside a page.

Each chart of a book either has its numbers or a reason in `why`, which the page prints in the chart's place.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kobe_assets.graph.own_strategies import strategies_of
from kobe_assets.report.analysis.criteria import Context
from kobe_assets.report.analysis.curves import ROLLING_SESSIONS, chain_payload, curve_payload, tidy_one
from kobe_assets.report.analysis.drawdowns import drawdown_payload
from kobe_assets.report.analysis.flow import capacity, flow
from kobe_assets.report.analysis.folds import fold_payload, parameter_path, promised_and_given
from kobe_assets.report.analysis.inputs import ReportInputs
from kobe_assets.report.analysis.regimes import regime_payload, regimes_of
from kobe_assets.report.analysis.results import StrategyResult, as_number, chosen_benchmark_of
from kobe_assets.report.analysis.trade_stats import trade_payload
from kobe_assets.report.page.context import window_rows
from kobe_assets.report.page.luck_parts import grids_payload, portfolio_payload, with_luck
from kobe_assets.report.page.packed_data import PackedData
from kobe_assets.research.strategies import BUILT_IN, Strategy

# No character that could end a script element or open a comment in it survives into the page.
_INERT = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def inert_json(value: Any) -> str:
    """`value` as JSON that may stand inside a <script> element whatever strings it holds."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).translate(_INERT)


def page_payload(inputs: ReportInputs, books: Sequence[StrategyResult], context: Context, packed: PackedData) -> dict[str, Any]:
    """Everything the page's script reads but the trades and their bars."""
    grids, together = grids_payload(inputs), portfolio_payload(books)
    alone = chosen_benchmark_of(inputs)
    chains: list[dict[str, Any]] = []
    payload = {}
    for book in books:
        chain = chain_payload(book, context.benchmark, alone)
        if chain not in chains:
            chains.append(chain)
        drawn = with_luck(book_payload(book, context), book, grids, together)
        payload[book.key] = {"chain": chains.index(chain), **drawn}
    return {
        "cash": inputs.settings.simulation.initial_cash,
        "slippage_bps": inputs.settings.costs.slippage_bps,
        "chosen": inputs.settings.report.benchmark,
        "grids": grids,
        "together": together,
        "chains": chains,
        "indicators": drawn_indicators(strategies_of(inputs.settings).values()),
        "books": payload,
        "beside": {"folder": packed.folder, "bars": dict(packed.bar_files), "trades": dict(packed.trade_files)},
    }


def drawn_indicators(strategies: Iterable[Strategy]) -> dict[str, list[list[Any]]]:
    """Strategy → [name, is it on the scale of the prices, declaration] that its trades' charts draw; Kobe's have theirs."""
    return {
        one.name: [[name, indicator.is_price, str(indicator)] for name, indicator in one.indicators.items()]
        for one in strategies
        if one.name not in BUILT_IN
    }


def drawn_columns(strategies: Iterable[Strategy]) -> dict[str, set[str]]:
    """The columns that these charts need beside those that every run has: name → the strategies that draw it."""
    drawn: dict[str, set[str]] = {}
    for strategy, indicators in drawn_indicators(strategies).items():
        for name, *_ in indicators:
            drawn.setdefault(name, set()).add(strategy)
    return {name: drawn[name] for name in sorted(set(drawn) - {"sma200", "rsi2", "ibs"})}


def book_payload(book: StrategyResult, context: Context) -> dict[str, Any]:
    """One book's charts."""
    regimes, why_no_regimes = regimes_of(book, context.benchmark)
    room = capacity(book)
    costs, pbo = _costs(book), _pbo(book)
    return {
        "strategy": book.strategy,
        "mode": book.mode,
        "title": book.title,
        "curve": curve_payload(book, context.benchmark),
        **fold_payload(book),
        "windows": window_rows(book),
        "flow": flow(book),
        "trade": trade_payload(book),
        "drawdowns": drawdown_payload(book.curve),
        "costs": costs,
        "break_even": tidy_one(book.figure("break_even_bps"), 4),
        "pbo": pbo,
        "capacity": room,
        "regimes": regime_payload(regimes),
        "why": _why(book, room is None, why_no_regimes, costs, pbo),
    }


def _why(
    book: StrategyResult, no_capacity: bool, why_no_regimes: str, costs: list[list[float | None]], pbo: dict[str, Any] | None
) -> dict[str, str]:
    """Chart → why it cannot be drawn; charts that can are absent."""
    no_curve = "No out-of-sample sessions." if book.curve.empty else ""
    no_trades = "No trades." if book.trades.empty else ""
    no_r = no_trades or ("" if book.trades["r"].notna().any() else "No trade has a known stop, so its risk is unknown.")
    points = promised_and_given(book)
    short = len(book.curve) < ROLLING_SESSIONS
    reasons = {
        "equity": no_curve,
        "at_work": no_curve or (no_trades or "The positions of these sessions are not known." if book.holdings.empty else ""),
        "months": no_curve,
        "years": no_curve,
        "rolling": no_curve or (f"Fewer than {ROLLING_SESSIONS} sessions." if short else ""),
        "scatter": "" if points else "No test window has a Sharpe ratio both in training and after.",
        "path": _no_path(book),
        "flow": "" if len(book.folds) and (len(book.trades) or any(book.folds["refused"])) else "No signal met the market.",
        "r": no_r,
        "exits": no_trades,
        "held": no_trades,
        "excursions": no_r,
        "without_best": no_trades,
        "symbols": no_trades,
        "costs": "" if costs else "The cost sensitivity was not measured in this run.",
        "capacity": (no_trades or "No trade has a known dollar volume.") if no_capacity else "",
        "regimes": why_no_regimes,
        "pbo": "" if pbo else f"No histogram: {_why_no_pbo(book)}.",
    }
    return {chart: reason for chart, reason in reasons.items() if reason}


def _why_no_pbo(book: StrategyResult) -> str:
    return book.why_null("pbo") if book.figure("pbo") is None else "it was not recorded"


def _no_path(book: StrategyResult) -> str:
    path = parameter_path(book)
    if not path:
        return "No parameters were recorded."
    return "" if any(len(set(values)) > 1 for values in path.values()) else "The parameters were the same in every test window."


def _costs(book: StrategyResult) -> list[list[float | None]]:
    points = book.evidence.get("cost_sensitivity")
    if not isinstance(points, list):
        return []
    digits = {"bps": 6, "sharpe": 4, "net_pnl": 6}
    rows = [[tidy_one(as_number(point.get(name)), n) for name, n in digits.items()] for point in points]
    return sorted((row for row in rows if row[0] is not None and row[1] is not None), key=lambda row: row[0] or 0.0)


def _pbo(book: StrategyResult) -> dict[str, Any] | None:
    found = book.evidence.get("pbo")
    hist = found.get("logits_hist") if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping) or not isinstance(hist, Mapping):
        return None
    edges, counts = hist.get("edges") or [], hist.get("counts") or []
    if not counts or len(edges) != len(counts) + 1:
        return None
    return {
        "edges": [tidy_one(as_number(edge), 4) for edge in edges],
        "counts": [int(count) for count in counts],
        "trials": found.get("trials"),
        "blocks": found.get("blocks"),
    }
