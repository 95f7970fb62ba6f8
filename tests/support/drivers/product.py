"""Runs the product on a market of the reference, from settings, and gives its answers in the reference's shapes."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kobe_assets.graph.frames import book_trades, signals_frame
from kobe_assets.graph.inputs import (
    canonical_params,
    costs_of,
    limits_of,
    load_panel,
    suspect_bars,
    tradable_bars,
)
from kobe_assets.research.indicators import compute_indicators
from kobe_assets.research.metrics import all_figures
from kobe_assets.research.panel import Panel, build_panel
from kobe_assets.research.quarantine import quarantined
from kobe_assets.research.signals import find_candidates
from kobe_assets.research.simulation import PNL, Outcome
from kobe_assets.research.strategies import STRATEGIES, Params, Strategy
from kobe_assets.research.walk_forward import Market, Part, simulate_book, simulate_window
from kobe_resources.settings.models import Settings
from kobe_resources.warehouse.store import Warehouse
from tests.support.reference.market import symbol_of

NOW = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


def settings_of(p: dict[str, Any], released: frozenset[str] = frozenset()) -> Settings:
    """The settings that say what the flat parameters of the reference say."""
    strategy = ("indicator_lag_bars", "rsi_entry", "rsi_exit", "ibs_entry", "atr_stop", "time_stop")
    sections = {
        "sizing": ("mode", "order_notional", "fraction", "whole_shares"),
        "execution": ("entry", "limit_offset_bps", "open_limit_bps"),
        "costs": (
            "slippage_bps", "commission_per_order", "commission_per_share", "commission_minimum", "regulatory_fees",
            "borrow_rate",
        ),
        "policy": (
            "max_notional_per_order", "max_daily_notional", "min_price", "max_price", "allow_shorts", "max_gap",
            "max_positions", "max_order_fraction", "max_daily_fraction", "max_gross_exposure",
        ),
        "simulation": ("initial_cash",),
    }  # fmt: skip
    return Settings.model_validate(
        {
            "strategy": {name: p[name] for name in strategy if p[name] is not None} | {"min_price": p["signal_min_price"]},
            **{section: {name: p[name] for name in names} for section, names in sections.items()},
            "universe": {"release": dict.fromkeys(sorted(released), "checked by hand")},
        }
    )


def with_limit(name: str) -> Strategy:
    """The canonical strategy, able to enter at limits: without `limit_atr` among its parameters it does not."""
    strategy = STRATEGIES[name]
    return replace(strategy, limit="atr14", parameters={**strategy.parameters, "limit_atr": 1.0})


@dataclass(frozen=True)
class Product:
    """The product's market under one set of parameters, and what it answers."""

    market: Market
    settings: Settings

    p: dict[str, Any]

    def params(self, strategy: str) -> Params:
        params = canonical_params(self.settings, with_limit(strategy))
        mechanical = {name: self.p[name] for name in ("atr_stop", "time_stop", "limit_atr")}
        return {name: float(value) for name, value in (params | mechanical).items() if value is not None and value == value}

    def signals(self, strategy: str) -> list[dict[str, Any]]:
        """Every signal in trading order."""
        params = self.params(strategy)
        found = find_candidates(self.market.panel, self.market.readable(), with_limit(strategy), params)
        return _rows(signals_frame(self.market, with_limit(strategy), found, params))

    def run(self, name: str, start: Any = None, end: Any = None) -> dict[str, Any]:
        """A simulation of the sessions start..end (none: all)."""
        market, params, strategy = self.market, self.params(name), with_limit(name)
        panel = market.panel
        first = 0 if start is None else int(np.searchsorted(panel.sessions, np.datetime64(start)))
        last = len(panel.sessions) - 1 if end is None else int(np.searchsorted(panel.sessions, np.datetime64(end)))
        outcome = simulate_window(market, strategy, params, first, last)
        return outcome_of(market, name, outcome, first, last)

    def run_book(self, weights: dict[str, float]) -> dict[str, Any]:
        """A simulation of all sessions of several strategies in one account, by strategy → weight."""
        parts = [Part(with_limit(name), weight) for name, weight in weights.items()]
        last = len(self.market.panel.sessions) - 1
        outcome = simulate_book(self.market, parts, [self.params(name) for name in weights], 0, last)
        trades = book_trades([part.strategy for part in parts], outcome, self.market.panel)
        return shaped(self.market, trades, outcome, 0, last)


def from_panel(panel: Panel, p: dict[str, Any], selected: set[str], released: frozenset[str] = frozenset()) -> Product:
    """The product on a panel, without a warehouse."""
    may_trade = np.array([symbol in selected for symbol in panel.symbols])
    lifted = np.array([symbol in released for symbol in panel.symbols])
    tradable = may_trade[panel.symbol] & (~quarantined(panel) | lifted[panel.symbol])
    return _product(panel, settings_of(p, released), tradable, p)


def panel_of(market: dict[str, Any]) -> Panel:
    """The panel of bars that the reference has adjusted."""
    listings = sorted(market["bars"])
    bars = [(s, bar) for s, name in enumerate(listings) for bar in market["bars"][name]]
    place = {session: index for index, session in enumerate(market["sessions"])}
    return build_panel(
        tuple(symbol_of(listing) for listing in listings),
        np.array(market["sessions"], dtype="datetime64[D]"),
        np.array([s for s, _ in bars], dtype=np.int64),
        np.array([place[bar["session"]] for _, bar in bars], dtype=np.int64),
        {name: np.array([bar[name] for _, bar in bars]) for name in ("open", "high", "low", "close", "volume", "factor")},
        np.array([bar.get("dividend", 0.0) for _, bar in bars], dtype=np.float64),
    )


def from_warehouse(folder: Path, given: dict[str, Any], p: dict[str, Any], released: frozenset[str] = frozenset()) -> Product:
    """The product on raw bars and splits that go through a warehouse, as `kobe backtest` finds them."""
    warehouse, settings = Warehouse(folder / "kobe.duckdb"), settings_of(p, released)
    bars = pd.DataFrame(given["raw_bars"]).assign(source="test", fetched_at=NOW)
    splits = pd.DataFrame(given["splits"], columns=["symbol", "execution_date", "split_from", "split_to"])
    symbols = sorted(set(bars["symbol"]))
    universe = pd.DataFrame({"symbol": symbols, "selected": [s in given["selected"] for s in symbols]})
    warehouse.replace({"daily_bars": bars, "splits": splits.assign(source="test"), "universe": universe})
    with warehouse.transaction() as connection:
        connection.execute("DELETE FROM dividends")
        rows = [[paid["symbol"], paid["ex_date"], paid["amount"]] for paid in given.get("dividends", ())]
        if rows:
            insert = "INSERT INTO dividends (symbol, ex_date, amount, kind, source) VALUES (?, ?, ?, 'regular', 'test')"
            connection.executemany(insert, rows)
    panel = load_panel(warehouse)
    return _product(panel, settings, tradable_bars(warehouse, settings, panel), p)


def _product(panel: Panel, settings: Settings, tradable: np.ndarray, p: dict[str, Any]) -> Product:
    market = Market(
        panel=panel,
        indicators=compute_indicators(panel),
        tradable=tradable,
        lag=settings.strategy.indicator_lag_bars,
        min_price=settings.strategy.min_price,
        costs=costs_of(settings, panel),
        limits=limits_of(settings),
        suspect=suspect_bars(settings, panel),
        auction=settings.execution.entry == "opg",
    )
    return Product(market, settings, p)


def outcome_of(market: Market, strategy: str, outcome: Outcome, first: int, last: int) -> dict[str, Any]:
    """An outcome in the shape of the reference's run, trades in order of entry and symbol."""
    return shaped(market, book_trades([STRATEGIES[strategy]], outcome, market.panel), outcome, first, last)


def shaped(market: Market, frame: pd.DataFrame, outcome: Outcome, first: int, last: int) -> dict[str, Any]:
    """A run as the reference gives it."""
    trades = _rows(frame)
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
