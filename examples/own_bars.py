"""Bars from anywhere: a DataFrame straight into a backtest, without a file, a setting or a warehouse.

python examples/own_bars.py
"""

import sys

import numpy as np
import pandas as pd

from kobe_assets import backtest


def bars_of(symbol: str, seed: int, sessions: int = 800) -> pd.DataFrame:
    """Invented bars; yours come from a file, a database, a vendor: the columns are what matters."""
    rng = np.random.default_rng(seed)
    close = 60 * np.exp(np.cumsum(rng.normal(0.0004, 0.015, sessions)))
    opened = np.concatenate([close[:1], close[:-1]]) * (1 + rng.normal(0, 0.003, sessions))
    swing = np.abs(rng.normal(0, 0.006, sessions))
    return pd.DataFrame(
        {
            "symbol": symbol,
            "session": pd.bdate_range("2018-01-02", periods=sessions),
            "open": opened,
            "high": np.maximum(opened, close) * (1 + swing),
            "low": np.minimum(opened, close) * (1 - swing),
            "close": close,
            "volume": 1_000_000.0,
        }
    )


def main() -> None:
    """Print the trades of `rsi2` on six invented stocks, and what the gate refused."""
    bars = pd.concat([bars_of(f"STOCK{number}", number) for number in range(6)], ignore_index=True)
    # Orders of a tenth of the account each; by name, as in kobe.toml.
    sizes = {"sizing.mode": "equity", "sizing.fraction": 0.1, "policy.max_notional_per_order": None}
    run = backtest("rsi2", bars, settings={**sizes, "policy.max_daily_notional": None, "simulation.initial_cash": 50_000})
    sys.stdout.write(run.trades[["symbol", "entry_session", "exit_session", "exit_reason", "pnl"]].tail(10).to_string() + "\n")
    sys.stdout.write(f"refused: {run.refused}\n{run!r}\n")


if __name__ == "__main__":
    main()
