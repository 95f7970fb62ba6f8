"""What every run that dies would else do for itself: modules, the gate's kernel and the calendar, before processes fork."""

from __future__ import annotations

import datetime as dt

import alpaca.data.historical.stock
import alpaca.trading.client  # noqa: F401
import exchange_calendars  # noqa: F401
import orjson  # noqa: F401
import tenacity  # noqa: F401

import kobe_jobs.ops.backup.make  # noqa: F401
from kobe_assets.graph.inputs import limits_of
from kobe_resources import calendar
from kobe_resources.policy_gate import AT_QUOTE, Proposal, Standing, decide_entry, limit_price
from tests.support.builders import small_market as market
from tests.support.drivers import crash_child  # noqa: F401

_LIMITS = limits_of(market.make_settings())
_ORDER = Proposal(True, AT_QUOTE, True, 20.0, 20.0, 0.0, 1.0, 1.0)
decide_entry(_LIMITS, _ORDER, Standing(False, 1e5, 0, 0.0, 0.0, 1e5))
limit_price(_LIMITS, _ORDER)
calendar.sessions(dt.date(2020, 1, 1), dt.date(2020, 2, 1))
