"""A warehouse with a random market in it, its indicators and signals computed, ready to be replayed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd

from kobe_assets.graph.frames import indicators_frame
from kobe_assets.graph.inputs import load_market, load_panel
from kobe_assets.research.indicators import compute_indicators
from kobe_assets.research.strategies import Strategy
from kobe_assets.signals import signals_of
from kobe_resources.settings.models import PortfolioSettings, Settings
from kobe_resources.warehouse.store import Warehouse
from tests.support.drivers.product import NOW, settings_of
from tests.support.reference.random_markets import random_market, random_parameters


def with_limit(strategy: Strategy, atrs: float, **changes: Any) -> Strategy:
    """The strategy with entries at a limit, so many ATRs from the close."""
    parameters = {**strategy.parameters, "limit_atr": atrs}
    return dataclasses.replace(strategy, parameters=parameters, limit="atr14", **changes)


def random_warehouse(folder: Path, seed: int, sessions: int, **changes: Any) -> tuple[Settings, Warehouse]:
    """Settings drawn from the seed, and a warehouse that holds a market drawn from it. changes: other parameters, as
    `settings_of` takes them; `strategies`: what trades, with weights.
    """
    drawn = random_market(seed, sessions)
    strategies = changes.pop("strategies", None)
    settings = settings_of(random_parameters(seed) | changes)
    if strategies:
        settings = settings.model_copy(update={"portfolio": PortfolioSettings(strategies=strategies)})
    warehouse = Warehouse(folder / "kobe.duckdb")
    bars = pd.DataFrame(drawn["raw_bars"]).assign(source="test", fetched_at=NOW)
    splits = pd.DataFrame(drawn["splits"], columns=["symbol", "execution_date", "split_from", "split_to"])
    symbols = sorted(set(bars["symbol"]))
    universe = pd.DataFrame({"symbol": symbols, "selected": [symbol in drawn["selected"] for symbol in symbols]})
    names = ["symbol", "ex_date", "amount"]
    paid = pd.DataFrame(drawn["dividends"], columns=names).assign(kind="CD", pay_date=None, source="test")
    tables = {"daily_bars": bars, "splits": splits.assign(source="test"), "dividends": paid, "universe": universe}
    warehouse.replace(tables)
    compute(settings, warehouse)
    return settings, warehouse


def compute(settings: Settings, warehouse: Warehouse) -> None:
    """Indicators and signals of the bars that are stored."""
    panel = load_panel(warehouse)
    warehouse.replace({"indicators": indicators_frame(panel, compute_indicators(panel))})
    warehouse.replace({"signals": signals_of(load_market(warehouse, settings, panel), settings)})
