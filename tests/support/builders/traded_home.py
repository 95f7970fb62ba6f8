"""A data folder with a random market in it, and some sessions traded on it in the stage `simulated`."""

from __future__ import annotations

from pathlib import Path

from kobe_jobs.trading.context import open_trading_context
from kobe_jobs.trading.next_session import next_session
from kobe_jobs.trading.session import trade_session
from kobe_resources.settings.models import Settings
from kobe_resources.settings.secrets import Secrets
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders.replay_market import random_warehouse

SEED, SESSIONS, BEFORE_THE_END = 2, 230, 12


def market_settings(home: Path) -> Settings:
    """Settings under which much of the market trades; the market itself lies in `home`, which KOBE_HOME must name."""
    home.mkdir(exist_ok=True)
    settings, _ = random_warehouse(home, SEED, SESSIONS)
    plain = settings.model_dump()
    plain["execution"]["entry"], plain["portfolio"] = "ioc", {"strategies": {"ibs": 1.0}}
    plain["broker"]["stage"] = "simulated"
    plain["simulation"]["initial_cash"], plain["sizing"]["order_notional"] = 10_000.0, 75.0
    plain["policy"] |= {
        "max_gap": 0.9, "max_notional_per_order": 80.0, "max_daily_notional": 200.0, "min_price": 0.01, "max_price": 1e6,
        "allow_shorts": True,
    }  # fmt: skip
    return Settings.model_validate(plain)


def stand_before_the_end(settings: Settings) -> None:
    """Let the embedded broker's clock stand some sessions before the last stored one."""
    stored = [row[0] for row in Warehouse().rows("SELECT DISTINCT session FROM daily_bars ORDER BY session")]
    with open_trading_context(settings, Secrets(), leave_clock=True) as trading:
        trading.broker.embedded.advance_to(stored[-BEFORE_THE_END], "open")  # type: ignore[attr-defined]


def trade_sessions(settings: Settings, count: int) -> None:
    """Trade the next sessions."""
    for _ in range(count):
        with open_trading_context(settings, Secrets(), leave_clock=True) as trading:
            trade_session(trading, next_session(trading))
