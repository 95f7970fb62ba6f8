"""A loopback Polygon in a process of its own, so that a benchmark measures the client alone.

`python -m tests.support.loopback_polygon SYMBOLS SESSIONS END` invents a market, builds every answer ahead, prints the URL and
serves until its standard input closes.
"""

from __future__ import annotations

import datetime as dt
import sys

from tests.support.loopback_polygon.market import random_market
from tests.support.loopback_polygon.server import LoopbackPolygon

GROUPED_DAYS = 5


def main(symbols: int, sessions: int, end: dt.date) -> None:
    """Serve `symbols` × `sessions` up to `end` until standard input ends."""
    market = random_market(symbols, sessions, seed=7, end=end)
    with LoopbackPolygon(market) as server:
        first, last = market.bars["session"].min().date(), market.bars["session"].max().date()
        for symbol in market.symbols if sessions > GROUPED_DAYS else []:
            server.zipped(market.range_body(symbol, first, last))
        for day in sorted(market.bars["session"].dt.date.unique())[-GROUPED_DAYS:]:
            server.zipped(market.grouped_body(day))
        sys.stdout.write(f"{server.url} {first} {last}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), dt.date.fromisoformat(sys.argv[3]))
