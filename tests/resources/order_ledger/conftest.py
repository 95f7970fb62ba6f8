"""The small market's broker and rig, as the tests of the trading path have them."""

from tests.jobs.trading.conftest import embedded, rig

__all__ = ["embedded", "rig"]
