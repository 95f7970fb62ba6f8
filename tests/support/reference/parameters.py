"""The parameters of a run as one flat dict, at the rules' canonical values."""

from __future__ import annotations

from typing import Any

STRATEGIES = ("rsi2", "ibs", "rsi2_ibs")

CANONICAL: dict[str, Any] = {
    # [strategy]
    "indicator_lag_bars": 1,
    "signal_min_price": 5.0,
    "rsi_entry": 10.0,
    "rsi_exit": 70.0,
    "ibs_entry": 0.2,
    "atr_stop": 2.0,
    "time_stop": 5,
    "limit_atr": None,
    "weight": 1.0,
    # [simulation] and [sizing]
    "initial_cash": 100_000.0,
    "mode": "fixed",
    "order_notional": 75.0,
    "fraction": 0.02,
    "whole_shares": True,
    # [execution] and [costs]
    "entry": "ioc",
    "limit_offset_bps": 10.0,
    "open_limit_bps": 300.0,
    "slippage_bps": 5.0,
    "commission_per_order": 0.0,
    "commission_per_share": 0.0,
    "commission_minimum": 0.0,
    "regulatory_fees": True,
    "borrow_rate": 0.0,
    # [policy]
    "max_notional_per_order": 75.0,
    "max_daily_notional": 1000.0,
    "min_price": 3.0,
    "max_price": 1000.0,
    "allow_shorts": False,
    "max_gap": 0.25,
    "max_positions": None,
    "max_order_fraction": None,
    "max_daily_fraction": None,
    "max_gross_exposure": None,
}

DEFAULT_GRIDS: dict[str, dict[str, list[float]]] = {
    "rsi2": {"rsi_entry": [5, 10, 15], "atr_stop": [1.5, 2, 3], "time_stop": [3, 5, 10]},
    "ibs": {"ibs_entry": [0.1, 0.2, 0.3], "atr_stop": [1.5, 2, 3], "time_stop": [3, 5, 10]},
    "rsi2_ibs": {"rsi_entry": [5, 10, 15], "ibs_entry": [0.1, 0.2, 0.3], "time_stop": [3, 5, 10]},
}
