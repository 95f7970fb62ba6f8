"""A loopback Alpaca: its market data API on real HTTP, with the faults of the loopback Polygon."""

from tests.support.loopback_alpaca.market import (
    AlpacaMarket,
    Rename,
    alpaca_market,
    asset_row,
    dividend_row,
    split_row,
    stamp,
)
from tests.support.loopback_alpaca.server import KEY_ID, SECRET, LoopbackAlpaca, saying

__all__ = [
    "KEY_ID",
    "SECRET",
    "AlpacaMarket",
    "LoopbackAlpaca",
    "Rename",
    "alpaca_market",
    "asset_row",
    "dividend_row",
    "saying",
    "split_row",
    "stamp",
]
