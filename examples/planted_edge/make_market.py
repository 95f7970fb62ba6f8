"""Bars of invented stocks, with an edge planted in them or with nothing in them: what a yes of the report looks like, and a no.

    python examples/planted_edge/make_market.py planted planted_market
    python examples/planted_edge/make_market.py noise noise_market

Every stock is a random walk. In the planted market a stock that fell hard rises on the days two to six after, and the others
fall as much, so that holding them all earns nothing: the edge is in the choice of entries.
"""

from __future__ import annotations

import csv
import datetime as dt
import sys
from pathlib import Path

import numpy as np

STOCKS, SESSIONS, START = 24, 1400, dt.date(2015, 1, 2)
SWING = 0.014
"""Standard deviation of a day's return."""
REBOUND = 0.006
"""What a stock that fell hard rises a day, on average, on the days two to six after."""
HARD = 1.2
"""A fall of a day, in swings, from which on it is hard."""
SETTINGS = """[data]
vendor = "files"
files.path = "{folder}"

[universe]
min_symbols = 20
min_years = 3
require_options = false

[portfolio]
strategies = {{ rsi2_ibs = 1.0 }}

[simulation]
initial_cash = 100_000

[sizing]
order_notional = 5_000

[policy]
max_notional_per_order = 5_000
max_daily_notional = 50_000
"""


def closes(rebound: float, seed: int, count: int = SESSIONS) -> np.ndarray:
    """(sessions, stocks) closes; rebound 0 plants nothing."""
    rng = np.random.default_rng(seed)
    price = np.empty((count, STOCKS))
    price[0] = rng.uniform(30.0, 90.0, STOCKS)
    fell = np.zeros((count, STOCKS), bool)
    for t in range(1, count):
        lifted = fell[max(t - 6, 0) : max(t - 1, 0)].any(axis=0)
        # Chance lifts nobody: what some are to gain, the others lose.
        drift = rebound * np.where(lifted, 1.0, -lifted.mean() / max(1.0 - lifted.mean(), 0.1))
        moves = drift + rng.normal(0.0, SWING, STOCKS)
        price[t], fell[t] = price[t - 1] * (1.0 + moves), moves <= -HARD * SWING
    return price


def sessions(count: int = SESSIONS) -> list[dt.date]:
    """The first `count` sessions of the exchange from `START` on."""
    from kobe_resources import calendar

    return [day.item() for day in calendar.sessions(START, START + dt.timedelta(days=2 * count))[:count]]


def write_market(folder: Path, rebound: float, seed: int = 5, count: int = SESSIONS) -> Path:
    """Write bars.csv and kobe.toml into `folder`; the settings file. rebound: 0 plants nothing. count: sessions."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, price = np.random.default_rng(seed + 1), np.round(closes(rebound, seed, count), 2)
    opened = np.round(np.vstack([price[:1], price[:-1]]) * (1.0 + rng.normal(0.0, 0.002, price.shape)), 2)
    high = np.round(np.maximum(opened, price) * (1.0 + np.abs(rng.normal(0.0, 0.004, price.shape))), 2)
    low = np.round(np.minimum(opened, price) * (1.0 - np.abs(rng.normal(0.0, 0.004, price.shape))), 2)
    with (folder / "bars.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["symbol", "session", "open", "high", "low", "close", "volume"])
        for t, day in enumerate(sessions(count)):
            for s in range(STOCKS):
                top, bottom = max(high[t, s], opened[t, s], price[t, s]), min(low[t, s], opened[t, s], price[t, s])
                rows.writerow([f"P{s:02d}", day, opened[t, s], top, bottom, price[t, s], int(rng.uniform(1e6, 3e6))])
    settings = folder / "kobe.toml"
    settings.write_text(SETTINGS.format(folder=folder.resolve()))
    return settings


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("planted", "noise"):
        sys.exit("usage: make_market.py planted|noise FOLDER")
    sys.stdout.write(
        f"KOBE_CONFIG={write_market(Path(sys.argv[2]), REBOUND if sys.argv[1] == 'planted' else 0.0)} kobe report\n"
    )
