"""The page of one backtest: one HTML file that opens offline, in the look of the report and under its kind of policy."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from kobe_assets.report.analysis.curves import calendar_payload
from kobe_assets.report.analysis.drawdowns import drawdown_payload
from kobe_assets.report.analysis.metrics_glossary import FIGURES, RUN_FIGURES
from kobe_assets.report.analysis.one_run import BookRun
from kobe_assets.report.analysis.trade_stats import by_exit, by_symbol
from kobe_assets.report.page.packing import pack_json, pack_text
from kobe_assets.report.page.page import (
    STYLES,
    boot_script,
    one_script,
    packed_plotly,
    page_template,
    plotly_script,
    script_policy,
    static_text,
)
from kobe_assets.report.page.trade_list import pack_trades
from kobe_assets.research.panel import Floats

if TYPE_CHECKING:
    import pandas as pd

SCRIPTS = ("basics.js", "unpack.js", "frame.js", "tables.js", "calendar.js", "trade_rows.js", "trade_table.js", "run.js")
MOST_BARS = 60_000
"""Bars on a page; of a larger run, the symbols that won or lost most."""
DIGITS = 4
NOT_OF_A_RUN = ("fold", "stop", "r", "mae_r", "mfe_r")
"""What the report's list of trades tells, and a run alone does not."""


def build_run_page(
    run: BookRun,
    holding: Floats,
    notes: Sequence[str],
    lookahead: str,
    warnings: Sequence[Mapping[str, str]],
    now: dt.datetime,
) -> str:
    """The page of a run.

    holding: what holding made of the cash (`BookRun.holding`). notes: what the run leaves out.
    lookahead: where it reads the future, or empty. now: aware.
    """
    payload = run_payload(run, holding)
    params = {part.strategy.name: dict(own) for part, own in zip(run.parts, run.params, strict=True)}
    return str(
        page_template("run.html.j2").render(
            run=run,
            params=params,
            held=run.held(holding),
            notes=[_sentence(note) for note in notes],
            lookahead=lookahead,
            warnings=warnings,
            figures=[((FIGURES | RUN_FIGURES)[name], value) for name, value in run.told(holding).items()],
            drawn=len(payload["symbols"]),
            traded=run.trades["symbol"].nunique(),
            made=now.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            policy=script_policy(plotly_script(), _script(), boot_script()),
            style=static_text(STYLES),
            plotly=packed_plotly(),
            script=pack_text(_script()),
            boot=boot_script(),
            payload=pack_json(payload),
            trades=pack_trades(run.trades.assign(**dict.fromkeys(NOT_OF_A_RUN, np.nan))),
        )
    )


def run_payload(run: BookRun, holding: Floats) -> dict[str, Any]:
    """What the page's script draws and lists; of the symbols with bars and trades, those that won or lost most first."""
    curve = run.equity
    traded = {str(symbol): trades for symbol, trades in run.trades.groupby("symbol", observed=True)}
    order = sorted(traded, key=lambda name: -float(traded[name]["pnl"].abs().sum()))
    symbols: list[dict[str, Any]] = []
    left = MOST_BARS
    for name in order:
        bars = _bars_of(run, name)
        if len(bars) > left and symbols:
            break
        left -= len(bars)
        symbols.append(_symbol_payload(run, name, bars, traded[name]))
    return {
        "name": run.name,
        "cash": run.initial_cash,
        "curve": {
            "days": _days(curve["session"].to_numpy()),
            **{name: _rounded(curve[name].to_numpy(), 6) for name in ("equity", "drawdown", "exposure")},
            "holding": _rounded(holding, 2),
        },
        **calendar_payload(curve),
        "drawdowns": drawdown_payload(curve),
        "exits": _in_cents(by_exit(run.trades)),
        "by_symbol": _in_cents(by_symbol(run.trades)),
        "symbols": symbols,
    }


def _bars_of(run: BookRun, symbol: str) -> np.ndarray:
    """Flat indices of the symbol's bars in the window."""
    span = run.panel.spans[symbol]
    sessions = run.panel.session[span]
    inside = (sessions >= run.first) & (sessions <= run.last)
    return np.arange(span.start, span.stop)[inside]


def _symbol_payload(run: BookRun, symbol: str, bars: np.ndarray, trades: pd.DataFrame) -> dict[str, Any]:
    panel = run.panel
    prices = {"open": panel.open, "high": panel.high, "low": panel.low, "close": panel.close}
    return {
        "name": symbol,
        "pnl": round(float(trades["pnl"].sum()), 2),
        "days": _days(panel.sessions[panel.session[bars]]),
        **{name: _rounded(column[bars], DIGITS) for name, column in prices.items()},
    }


def _in_cents(parts: Sequence[tuple[str, int, float]]) -> list[list[Any]]:
    return [[name, count, round(profit, 2)] for name, count, profit in parts]


def _days(sessions: np.ndarray) -> list[int]:
    """Days since 1970, the first whole, then the distances."""
    days = sessions.astype("datetime64[D]").astype(np.int64)
    found: list[int] = np.diff(days, prepend=0).tolist()
    return found


def _rounded(values: np.ndarray, digits: int) -> list[float]:
    found: list[float] = np.round(values, digits).tolist()
    return found


def _sentence(note: str) -> str:
    return f"{note[0].upper()}{note[1:]}."


@lru_cache(maxsize=1)
def _script() -> str:
    return one_script(SCRIPTS)
