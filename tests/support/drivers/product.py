"""Runs the product on a market of the reference, from settings, and gives its answers in the reference's shapes."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kobe_assets.graph.frames import outcome_trades, signals_frame
from kobe_assets.graph.inputs import canonical_params, costs_of, limits_of, load_panel, tradable_bars
from kobe_assets.research.entry_queue import fetch_offers, size_offers
from kobe_assets.research.indicators import compute_indicators
from kobe_assets.research.metrics import all_figures
from kobe_assets.research.panel import Panel, build_panel
from kobe_assets.research.quarantine import quarantined
from kobe_assets.research.signals import find_candidates, leave_flags
from kobe_assets.research.simulation import PNL, Outcome, simulate
from kobe_assets.research.strategies import STRATEGIES, Params
from kobe_assets.research.walk_forward import Market
from kobe_resources.settings.models import Settings
from kobe_resources.warehouse.store import Warehouse

NOW = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


def settings_of(p: dict[str, Any], released: frozenset[str] = frozenset()) -> Settings:
    """The settings that say what the flat parameters of the reference say."""
    strategy = ("indicator_lag_bars", "rsi_entry", "rsi_exit", "ibs_entry", "atr_stop", "time_stop")
    simulation = ("initial_cash", "order_notional", "whole_shares", "slippage_bps")
    policy = ("max_notional_per_order", "max_daily_notional", "min_price", "max_price", "allow_shorts")
    return Settings.model_validate(
        {
            "strategy": {name: p[name] for name in strategy} | {"min_price": p["signal_min_price"]},
            "simulation": {name: p[name] for name in simulation},
            "policy": {name: p[name] for name in policy},
            "trading": {"limit_offset_bps": p["limit_offset_bps"]},
            "universe": {"release": dict.fromkeys(sorted(released), "checked by hand")},
        }
    )


@dataclass(frozen=True)
class Product:
    """The product's market under one set of parameters, and what it answers."""

    market: Market
    settings: Settings

    def params(self, strategy: str) -> Params:
        return canonical_params(self.settings, STRATEGIES[strategy])

    def signals(self, strategy: str) -> list[dict[str, Any]]:
        """Every signal in trading order."""
        params = self.params(strategy)
        found = find_candidates(self.market.panel, self.market.readable(), STRATEGIES[strategy], params)
        return _rows(signals_frame(self.market, STRATEGIES[strategy], found, params))

    def run(self, name: str, start: Any = None, end: Any = None) -> dict[str, Any]:
        """A simulation of the sessions start..end (none: all)."""
        market, params, strategy = self.market, self.params(name), STRATEGIES[name]
        panel, readable = market.panel, market.readable()
        found = find_candidates(panel, readable, strategy, params)
        leave = leave_flags(panel, readable, strategy, params)
        feed = size_offers(
            panel, fetch_offers(panel, found, market.indicators.atr14, market.lag), market.costs, market.limits, leave
        )
        first = 0 if start is None else int(np.searchsorted(panel.sessions, np.datetime64(start)))
        last = len(panel.sessions) - 1 if end is None else int(np.searchsorted(panel.sessions, np.datetime64(end)))
        outcome = simulate(feed, first, last, params["atr_stop"], int(params["time_stop"]), market.costs, market.limits)
        return outcome_of(market, name, outcome, first, last)


def from_panel(panel: Panel, p: dict[str, Any], selected: set[str], released: frozenset[str] = frozenset()) -> Product:
    """The product on a panel, without a warehouse."""
    may_trade = np.array([symbol in selected for symbol in panel.symbols])
    lifted = np.array([symbol in released for symbol in panel.symbols])
    tradable = may_trade[panel.symbol] & (~quarantined(panel) | lifted[panel.symbol])
    return _product(panel, settings_of(p, released), tradable)


def panel_of(market: dict[str, Any]) -> Panel:
    """The panel of bars that the reference has adjusted."""
    symbols = tuple(sorted(market["bars"]))
    bars = [(s, bar) for s, name in enumerate(symbols) for bar in market["bars"][name]]
    place = {session: index for index, session in enumerate(market["sessions"])}
    return build_panel(
        symbols,
        np.array(market["sessions"], dtype="datetime64[D]"),
        np.array([s for s, _ in bars], dtype=np.int64),
        np.array([place[bar["session"]] for _, bar in bars], dtype=np.int64),
        {name: np.array([bar[name] for _, bar in bars]) for name in ("open", "high", "low", "close", "volume", "factor")},
    )


def from_warehouse(folder: Path, given: dict[str, Any], p: dict[str, Any], released: frozenset[str] = frozenset()) -> Product:
    """The product on raw bars and splits that go through a warehouse, as `kobe backtest` finds them."""
    warehouse, settings = Warehouse(folder / "kobe.duckdb"), settings_of(p, released)
    bars = pd.DataFrame(given["raw_bars"]).assign(source="test", fetched_at=NOW)
    splits = pd.DataFrame(given["splits"], columns=["symbol", "execution_date", "split_from", "split_to"])
    symbols = sorted(set(bars["symbol"]))
    universe = pd.DataFrame({"symbol": symbols, "selected": [s in given["selected"] for s in symbols]})
    warehouse.replace({"daily_bars": bars, "splits": splits.assign(source="test"), "universe": universe})
    panel = load_panel(warehouse)
    return _product(panel, settings, tradable_bars(warehouse, settings, panel))


def _product(panel: Panel, settings: Settings, tradable: np.ndarray) -> Product:
    market = Market(
        panel=panel,
        indicators=compute_indicators(panel),
        tradable=tradable,
        lag=settings.strategy.indicator_lag_bars,
        min_price=settings.strategy.min_price,
        costs=costs_of(settings),
        limits=limits_of(settings),
    )
    return Product(market, settings)


def outcome_of(market: Market, strategy: str, outcome: Outcome, first: int, last: int) -> dict[str, Any]:
    """An outcome in the shape of the reference's run, trades in order of entry and symbol."""
    trades = _rows(outcome_trades(STRATEGIES[strategy], outcome, market.panel))
    cash = market.costs.initial_cash
    return {
        "trades": sorted(trades, key=lambda t: (t["entry_session"], t["symbol"])),
        "equity": list(zip(market.panel.sessions[first : last + 1].tolist(), outcome.equity.tolist(), strict=True)),
        "exposure": outcome.exposure.tolist(),
        "refused": outcome.refusals(),
        "figures": all_figures(outcome.equity, outcome.exposure, outcome.numbers[:, PNL], cash),
    }


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    columns: dict[str, list[Any]] = {}
    for name in frame.columns:
        if name.endswith("session"):
            columns[name] = frame[name].to_numpy().astype("datetime64[D]").tolist()
        else:
            columns[name] = [None if value != value else value for value in frame[name].tolist()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
