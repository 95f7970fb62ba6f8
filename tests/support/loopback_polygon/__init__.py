"""A loopback Polygon: the vendor's end-of-day API on real HTTP, with faults by script."""

from tests.support.loopback_polygon.faults import FaultScript, Reply
from tests.support.loopback_polygon.market import Market, random_market, ticker_row
from tests.support.loopback_polygon.server import KEY, Call, LoopbackPolygon

__all__ = ["KEY", "Call", "FaultScript", "LoopbackPolygon", "Market", "Reply", "random_market", "ticker_row"]
