"""Invented tables that hang together: random bars, trades that really cross them, equity that adds up to the trades' profit.

The figures that the research code computes with care (bootstrap, DSR, PBO) are made up here within their ranges.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import talib

from kobe_assets.report.analysis.heat_map import Grid, make_grid
from kobe_assets.report.analysis.inputs import ReportInputs, evidence_frame
from kobe_assets.report.analysis.resampling import resampling
from kobe_resources.settings.models import Settings
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders.report_inputs import read_inputs

STRATEGIES = ("ibs", "rsi2", "rsi2_ibs")
MODES = ("canonical", "optimized")
CASH, NOTIONAL, SLIP = 1000.0, 75.0, 0.0005
FETCHED = pd.Timestamp("2024-01-02", tz="UTC")
GRID = {
    "rsi_entry": (5.0, 10.0, 15.0),
    "ibs_entry": (0.1, 0.2, 0.3),
    "atr_stop": (1.5, 2.0, 3.0),
    "time_stop": (3.0, 5.0, 10.0),
}

Tables = dict[str, pd.DataFrame]


def settings_for(symbols: int) -> Settings:
    """Settings with the sample's cash, so that percentages show."""
    return Settings(
        data={"vendor": "synthetic", "synthetic": {"symbols": symbols}},
        simulation={"initial_cash": CASH},
        sizing={"order_notional": NOTIONAL, "whole_shares": False},
    )


def fabricate(
    symbols: int = 8,
    sessions: int = 1100,
    seed: int = 3,
    drift: float = 0.0004,
    train: int = 252,
    test: int = 63,
    a_day: int = 6,
) -> Tables:
    """All tables the report reads. drift: daily log return added to each bar; a_day: entries a session at most."""
    rng = np.random.default_rng(seed)
    bars, indicators, flat = _market(rng, symbols, sessions, drift)
    folds = _folds(sessions, train, test)
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in ("wf_folds", "wf_trades", "wf_equity", "wf_trials", "kpis")}
    evidence: dict[tuple[str, str], dict[str, Any]] = {}
    for strategy in STRATEGIES:
        parts["wf_trials"].append(_trials(rng, strategy, folds))
        for mode in MODES:
            book, evidence[(strategy, mode)] = _book(rng, flat, folds, strategy, mode, a_day)
            evidence[(strategy, mode)] |= _drawn(book["wf_trades"], book["wf_equity"])
            for name, frame in book.items():
                parts[name].append(frame)
        evidence[(strategy, "")] = {"heat_map": _grid(len(folds)).payload()}
    growth = np.exp(np.nanmean(flat["log"], axis=1))
    days = [str(day) for day in flat["days"]]
    evidence[("universe", "benchmark")] = {"buy_and_hold": [[d, float(g)] for d, g in zip(days, growth, strict=True)]}
    evidence[("tries", "")] = {
        "tries": {
            "count": 81,
            "unknown": 0,
            "strategies": [[name, 27, 1, 0.9] for name in STRATEGIES],
            "listed": [[name, {"atr_stop": 2.0}, "terms", 0.9] for name in STRATEGIES],
        }
    }
    evidence[("data", "")] = {
        "checks": [
            {
                "name": "bars_unique",
                "severity": "ERROR",
                "passed": True,
                "count": 0,
                "description": "no (symbol, session) twice",
            },
            {
                "name": "missing_sessions",
                "severity": "WARN",
                "passed": False,
                "count": 7,
                "description": "sessions without a bar",
            },
            {
                "name": "no_lookahead",
                "severity": "ERROR",
                "passed": True,
                "count": 0,
                "description": "the past does not change",
            },
        ],
        "quarantine": [{"symbol": flat["names"][1], "session": days[300], "ratio": 0.52}],
    }
    tables: Tables = {name: pd.concat(frames, ignore_index=True) for name, frames in parts.items()}
    return tables | {
        "daily_bars": bars,
        "indicators": indicators,
        "splits": pd.DataFrame(
            [[flat["names"][0], pd.Timestamp(days[sessions // 2]), 1.0, 2.0, "synthetic"]],
            columns=["symbol", "execution_date", "split_from", "split_to", "source"],
        ),
        "universe": _universe(flat, symbols),
        "kpi_reasons": pd.DataFrame(
            [["ibs", "canonical", "wfe", "in-sample return is not positive"]], columns=["strategy", "mode", "figure", "reason"]
        ),
        "evidence": evidence_frame(evidence),
    }


def inputs_from(tables: Tables, path: Path, settings: Settings) -> ReportInputs:
    """The tables stored in a real warehouse and read back as the report reads them."""
    warehouse = Warehouse(path / "kobe.duckdb")
    warehouse.replace(tables)
    return read_inputs(warehouse, settings, {"commit": "0123456789ab"})


def _market(
    rng: np.random.Generator, symbols: int, sessions: int, drift: float
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    days = pd.bdate_range("2007-01-03", periods=sessions).to_numpy().astype("datetime64[D]")
    common = rng.normal(0, 0.008, sessions)
    log = np.cumsum(drift + common[:, None] + rng.normal(0, 0.015, (sessions, symbols)), axis=0)
    close = rng.uniform(15, 250, symbols) * np.exp(log)
    opened = np.vstack([close[:1], close[:-1]]) * np.exp(rng.normal(0, 0.004, close.shape))
    high = np.maximum(opened, close) * (1 + np.abs(rng.normal(0, 0.006, close.shape)))
    low = np.minimum(opened, close) * (1 - np.abs(rng.normal(0, 0.006, close.shape)))
    volume = rng.uniform(1e5, 4e6, symbols) * np.exp(rng.normal(0, 0.4, close.shape))
    names = [f"S{i:03d}" for i in range(symbols)]
    fields = {"open": opened, "high": high, "low": low, "close": close}
    rsi2, sma, atr = (np.full(close.shape, np.nan) for _ in range(3))
    for i in range(symbols):
        rsi2[:, i] = talib.RSI(close[:, i], 2)
        sma[:, i] = talib.SMA(close[:, i], 200)
        atr[:, i] = talib.ATR(high[:, i], low[:, i], close[:, i], 14)
    long = {"symbol": np.repeat(names, sessions), "session": np.tile(days, symbols)}
    # The first symbol splits 2:1 half way: raw prices before it are twice the adjusted ones.
    raw = np.ones(close.shape)
    raw[: sessions // 2, 0] = 2.0
    flatten = {name: (values * raw).T.ravel() for name, values in fields.items()}
    bars = pd.DataFrame({**long, **flatten, "volume": (volume / raw).T.ravel(), "source": "synthetic", "fetched_at": FETCHED})
    ibs = (close - low) / (high - low)
    indicators = pd.DataFrame(
        {**long, "rsi2": rsi2.T.ravel(), "sma200": sma.T.ravel(), "atr14": atr.T.ravel(), "ibs": ibs.T.ravel()}
    )
    flat = {
        "days": days,
        "names": np.array(names, dtype=object),
        "log": log,
        "raw": raw,
        "rsi2": rsi2,
        "sma": sma,
        "atr": atr,
        **fields,
    }
    return bars, indicators, flat


def _folds(sessions: int, train: int, test: int, warmup: int = 200) -> list[tuple[int, int, int, int]]:
    starts = range(warmup + train, sessions, test)
    return [(start - train, start - 1, start, min(start + test, sessions) - 1) for start in starts]


def _book(
    rng: np.random.Generator, flat: dict[str, Any], folds: list[tuple[int, int, int, int]], strategy: str, mode: str, a_day: int
) -> tuple[Tables, dict[str, Any]]:
    owner = {"strategy": strategy, "mode": mode}
    fold_rows, trades, curves = [], [], []
    for number, (train_start, train_end, start, end) in enumerate(folds, 1):
        params = {name: float(rng.choice(values)) if mode == "optimized" else values[1] for name, values in GRID.items()}
        found, signals = _trades(rng, flat, start, end, params, a_day)
        found = found.assign(**owner, fold=number, entered_by=strategy)
        days = flat["days"][start : end + 1]
        paid = found.groupby("exit_session")["pnl"].sum() if len(found) else pd.Series(dtype=float)
        equity = CASH + paid.reindex(pd.DatetimeIndex(days), fill_value=0.0).to_numpy(float).cumsum()
        returns = equity / np.concatenate(([CASH], equity[:-1])) - 1
        curves.append(pd.DataFrame({**owner, "fold": number, "session": days, "equity": equity, "daily_return": returns}))
        trades.append(found)
        left = signals - len(found)
        refused = {"already_open": left // 3, "exceeds_daily_budget": left // 6, "no_bar": left - left // 3 - left // 6}
        fold_rows.append(
            {
                **owner,
                "fold": number,
                "train_start": flat["days"][train_start],
                "train_end": flat["days"][train_end],
                "test_start": days[0],
                "test_end": days[-1],
                "params": json.dumps({name: value for name, value in params.items() if _means(name, strategy)}),
                "refused": json.dumps(refused),
                "train_sharpe": float(rng.normal(0.9, 0.6)),
                **_figures(returns, found["pnl"].to_numpy(float), equity),
            }
        )
    curve, all_trades = pd.concat(curves, ignore_index=True), pd.concat(trades, ignore_index=True)
    whole = _figures(curve["daily_return"].to_numpy(), all_trades["pnl"].to_numpy(float), None)
    whole["net_pnl"] = float(all_trades["pnl"].sum())
    kpis = pd.DataFrame(
        [{**owner, "figure": name, "value": value} for name, value in {**whole, **_luck(rng, whole, len(curve))}.items()]
    )
    tables = {"wf_folds": pd.DataFrame(fold_rows), "wf_trades": all_trades, "wf_equity": curve, "kpis": kpis}
    return tables, _evidence(rng, whole, curve)


def _means(parameter: str, strategy: str) -> bool:
    """Folds name the parameters that mean something to their strategy."""
    return parameter in {"atr_stop", "time_stop"} or parameter[:3] in strategy


def _trades(
    rng: np.random.Generator, flat: dict[str, Any], start: int, end: int, params: dict[str, float], a_day: int
) -> tuple[pd.DataFrame, int]:
    """Long trades of a window: after a low RSI, out at the stop, after 1 to 5 bars, or at the window's end; and the signals."""
    rows = np.arange(start - 1, end)
    wanted = (flat["rsi2"][rows - 1] <= 20) & np.isfinite(flat["sma"][rows - 1])
    at, symbol = np.nonzero(wanted)
    signal = rows[at]
    keep = rng.random(len(signal)) < 0.8
    rank = pd.Series(signal[keep]).groupby(signal[keep]).cumcount().to_numpy()
    signals, signal, symbol = len(at), signal[keep][rank < a_day], symbol[keep][rank < a_day]
    entry = signal + 1
    fill = flat["open"][entry, symbol] * (1 + SLIP)
    stop = fill - params["atr_stop"] * flat["atr"][signal - 1, symbol]
    hold = rng.integers(1, 6, len(signal))
    leave = np.minimum(entry + hold, end)
    price = np.where(entry + hold <= end, flat["open"][leave, symbol], flat["close"][end, symbol]) * (1 - SLIP)
    reason = np.where(entry + hold <= end, np.where(hold < 5, "rsi_exit", "time_stop"), "window_end").astype(object)
    low, high = fill.copy(), fill.copy()
    out = np.zeros(len(signal), dtype=bool)
    for step in range(5):
        day = entry + step
        alive = ~out & (day < leave) & (day <= end)
        row = np.minimum(day, end)
        hit = alive & (flat["low"][row, symbol] <= stop)
        low = np.where(alive, np.minimum(low, np.where(hit, stop, flat["low"][row, symbol])), low)
        high = np.where(alive, np.maximum(high, flat["high"][row, symbol]), high)
        price = np.where(hit, np.minimum(flat["open"][row, symbol], stop) * (1 - SLIP), price)
        leave, reason, out = np.where(hit, day, leave), np.where(hit, "stop", reason), out | hit
    shares = NOTIONAL / fill
    frame = pd.DataFrame(
        {
            "symbol": flat["names"][symbol],
            "side": "long",
            "signal_session": flat["days"][signal],
            "entry_session": flat["days"][entry],
            "entry_price": fill,
            "exit_session": flat["days"][leave],
            "exit_price": price,
            "exit_reason": reason,
            "shares": shares,
            "qty": shares / flat["raw"][entry, symbol],
            "fees": 0.0,
            "dividends": 0.0,
            "pnl": shares * (price - fill),
            "bars_held": np.maximum(leave - entry, 1),
            "mae": np.minimum(low, price) / fill - 1,
            "mfe": np.maximum(high, price) / fill - 1,
        }
    )
    return frame, signals


def _figures(returns: Any, pnl: Any, equity: Any) -> dict[str, float | None]:
    n, spread = len(returns), float(np.std(returns, ddof=1)) if len(returns) > 1 else 0.0
    growth = np.cumprod(1 + returns)
    fall = float(np.min(growth / np.maximum.accumulate(np.concatenate(([1.0], growth)))[1:] - 1))
    down = float(np.sqrt(np.mean(np.minimum(returns, 0) ** 2)))
    cagr = float(growth[-1] ** (252 / n) - 1)
    lost = -float(pnl[pnl <= 0].sum())
    return {
        "sharpe": float(np.mean(returns)) / spread * 252**0.5 if spread else None,
        "sortino": float(np.mean(returns)) / down * 252**0.5 if down else None,
        "cagr": cagr,
        "volatility": spread * 252**0.5,
        "max_drawdown": fall,
        "calmar": cagr / -fall if fall else None,
        "win_rate": float(np.mean(pnl > 0)) if len(pnl) else None,
        "profit_factor": float(pnl[pnl > 0].sum()) / lost if lost else None,
        "expectancy": float(np.mean(pnl)) if len(pnl) else None,
        "exposure": 0.21,
        "net_pnl": float(equity[-1] - CASH) if equity is not None else None,
    }


def _luck(rng: np.random.Generator, whole: dict[str, float | None], n: int) -> dict[str, float | None]:
    sr = whole["sharpe"] or 0.0
    width = 1.96 * (252 / n) ** 0.5
    return {
        "sharpe_lo": sr - width,
        "sharpe_hi": sr + width,
        "psr": float(rng.uniform(0.5, 1)),
        "dsr": float(rng.uniform(0.2, 0.99)),
        "dsr_trials": 81.0,
        "min_trl_years": 2.7 / sr**2 if sr > 0 else None,
        "pbo": float(rng.uniform(0.1, 0.8)),
        "permutation_p": 3 / 101,
        "wfe": None,
        "break_even_bps": 5 + 4 * sr if sr > -1 else None,
        "sqn": 1.7 * sr,
        "turnover": 21.0,
        "avg_holding": 2.9,
    }


def _evidence(rng: np.random.Generator, whole: dict[str, float | None], curve: pd.DataFrame) -> dict[str, Any]:
    sr = whole["sharpe"] or 0.0
    counts, edges = np.histogram(rng.normal(0.6, 1.2, 12870), 40)
    ghost = np.cumprod(1 + curve["daily_return"].to_numpy() + 0.0002)
    return {
        "cost_sensitivity": [
            {"bps": b, "sharpe": sr + (5 - b) * 0.25, "net_pnl": (whole["net_pnl"] or 0.0) + (5 - b) * 40}
            for b in (0, 5, 10, 20, 40)
        ],
        "lag_cost": {"0": {"sharpe": sr + 0.4}, "1": {"sharpe": sr}},
        "pbo": {
            "pbo": float((edges[:-1] <= 0) @ counts / counts.sum()),
            "logits_hist": {"edges": edges.tolist(), "counts": counts.tolist()},
            "trials": 27,
            "blocks": 16,
        },
        "in_sample": [[str(day)[:10], float(g)] for day, g in zip(curve["session"], ghost, strict=True)],
    }


def _drawn(trades: pd.DataFrame, equity: pd.DataFrame) -> dict[str, Any]:
    """Resampling by the code that is shipped, and an invented permutation."""
    rng = np.random.default_rng(5)
    counts, edges = np.histogram(rng.normal(0.2, 0.3, 100), 30)
    return {
        "resampling": resampling(trades, equity, CASH, 300, 11),
        "permutation": {
            "permutations": 100,
            "seed": 5,
            "own": 0.8,
            "p": 3 / 101,
            "percentiles": {"5": -0.3, "50": 0.2, "95": 0.7},
            "edges": edges.tolist(),
            "counts": counts.tolist(),
            "entries": len(trades),
            "drawn_entries": len(trades) - 0.5,
        },
    }


def _grid(folds: int) -> Grid:
    """A grid of three parameters with a hill in the middle."""
    names = ("rsi_entry", "atr_stop", "time_stop")
    sets = [dict(zip(names, values, strict=True)) for values in itertools.product(*(GRID[name] for name in names))]
    mean = [1.0 - 0.1 * abs(k - 13) for k in range(len(sets))]
    chosen = [(fold, sets[(5 * fold) % len(sets)], 0.1 * fold - 0.3) for fold in range(1, folds + 1)]
    return make_grid("rsi2", sets, mean, chosen, sets[13])


def _trials(rng: np.random.Generator, strategy: str, folds: list[tuple[int, int, int, int]]) -> pd.DataFrame:
    rows = [
        (strategy, fold, trial, json.dumps({"rsi_entry": trial}), float(rng.normal(0.5, 0.5)), "pin", "data", FETCHED)
        for fold in range(1, len(folds) + 1)
        for trial in range(27)
    ]
    columns = ["strategy", "fold", "trial", "params", "train_sharpe", "config_pin", "data_version", "recorded_at"]
    return pd.DataFrame(rows, columns=columns)


def _universe(flat: dict[str, Any], symbols: int) -> pd.DataFrame:
    def rows() -> Iterator[tuple[Any, ...]]:
        first, last, sessions = flat["days"][0], flat["days"][-1], len(flat["days"])
        for rank, name in enumerate(flat["names"], 1):
            yield name, True, rank, None, first, last, sessions, sessions / 252, 2e6, 1e8 / rank, True
        for i in range(max(2, symbols // 5)):
            yield f"X{i:03d}", False, None, "too few years", first, last, 400, 1.6, 1e4, 5e5, None

    columns = [
        "symbol",
        "selected",
        "rank",
        "reason",
        "first_session",
        "last_session",
        "sessions",
        "years",
        "adv_shares",
        "adv_usd",
        "has_options",
    ]
    return pd.DataFrame(list(rows()), columns=columns)


NOW = dt.datetime(2024, 1, 3, 22, 15, tzinfo=dt.UTC)
