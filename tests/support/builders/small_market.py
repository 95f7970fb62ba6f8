"""A market of a dozen stocks and six sessions, made by hand so that one run meets entries, exits, a stop-out and vetoes.

Trading session 2 (2024-03-06) enters; in its bar one stop triggers, and two positions are flagged at its close. Session 3
(2024-03-07) sells them, enters again, and protects. Everything a run touches lies in one folder.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kobe_jobs.trading.context import TradingContext, open_ledger
from kobe_jobs.trading.market_snapshot import Bars, MarketSnapshot, Signal
from kobe_resources.broker.alpaca.adapter import AlpacaBroker
from kobe_resources.broker.exchange.bars import ExchangeSplit
from kobe_resources.broker.exchange.embedded import STRICT, EmbeddedBroker, StoredBars, Terms
from kobe_resources.broker.hosts import Hosts
from kobe_resources.broker.protocol import Broker
from kobe_resources.kill_switch import KillSwitch
from kobe_resources.order_ledger import OrderLedger
from kobe_resources.settings.models import Settings
from kobe_resources.warehouse.store import Warehouse

SESSIONS = [dt.date(2024, 3, day) for day in (4, 5, 6, 7, 8, 11)]
SYMBOLS = [f"S{number:02d}" for number in range(12)]
FIRST_SIGNALS, ENTRY_DAY, EXIT_DAY = SESSIONS[1], SESSIONS[2], SESSIONS[3]
LEAVING = ("S01", "S02")
"""Flagged at the close of the entry day."""
STOPPED = "S03"
"""Its low of the entry day lies under its stop."""
FIRST_ENTRIES = SYMBOLS[:6]
SECOND_ENTRIES = ("S02", "S06", "S07", "S08", "S09", "S10")
"""S02 is refused: it was held at the close before."""
BUDGET = 340.0
PRICE = 20.0
CASH = 5_000.0
STRICTNESS = dataclasses.replace(STRICT, requests_a_minute=None)
"""Refusals, slow answers and no offers at the open. Of 200 calls a minute, each of which would cost one, other tests tell."""


def price_of(symbol: str) -> float:
    """The flat price of a symbol."""
    return PRICE + SYMBOLS.index(symbol)


def make_settings(entry: str = "ioc", **trading: Any) -> Settings:
    """Short waits, a budget of four full orders and a half, real order sizes. entry: of [execution]."""
    return Settings(
        execution={"entry": entry},
        simulation={"initial_cash": CASH},
        sizing={"whole_shares": True, "order_notional": 75.0},
        costs={"slippage_bps": 5.0},
        policy={"max_daily_notional": BUDGET},
        broker={"stage": "simulated", "timeout_s": 0.5},
        trading={
            "resolve_timeout_s": 5.0, "not_placed_after_s": 0.3, "poll_s": 0.05, "cancel_after_s": 0.4,
            **trading,
        },
    )  # fmt: skip


def stored_bars(splits: Sequence[ExchangeSplit] = ()) -> StoredBars:
    """Flat bars but for the one that falls through its stop, and those that split."""
    rows = []
    for symbol in SYMBOLS:
        for session in SESSIONS:
            price = price_of(symbol)
            for split in splits:
                price /= split.ratio if (split.symbol == symbol and split.execution_date <= session) else 1.0
            low = price * (0.5 if (symbol, session) == (STOPPED, ENTRY_DAY) else 0.99)
            rows.append((symbol, session, price, price * 1.01, low, price * 1.005))
    return StoredBars.of_rows(rows, splits)


def make_snapshot(**changes: Any) -> MarketSnapshot:
    """Signals of the first two sessions that matter, and bars on which `LEAVING` want out."""
    signals = {
        FIRST_SIGNALS: tuple(_signal(symbol, FIRST_SIGNALS, rank) for rank, symbol in enumerate(FIRST_ENTRIES)),
        ENTRY_DAY: tuple(_signal(symbol, ENTRY_DAY, rank) for rank, symbol in enumerate(SECOND_ENTRIES)),
    }
    snapshot = MarketSnapshot(
        sessions=np.array(SESSIONS, dtype="datetime64[D]"),
        last_stored=SESSIONS[-1],
        computed=frozenset(SESSIONS),
        signals=signals,
        bars={symbol: _bars(symbol) for symbol in SYMBOLS},
        splits={},
    )
    return dataclasses.replace(snapshot, **changes)


def start_broker(folder: Path, splits: Sequence[ExchangeSplit] = (), **terms: Any) -> EmbeddedBroker:
    """The embedded broker, its state in the folder, as strict as `STRICTNESS` unless the terms say otherwise."""
    given = {"initial_cash": CASH, "strictness": STRICTNESS, **terms}
    return EmbeddedBroker(folder / "broker", stored_bars(splits), Terms(**given))


def by_hand(embedded: EmbeddedBroker, symbol: str, side: str, qty: str, client_id: str = "") -> None:
    """A person's market order at the broker's own page, once somebody offers; it is filled afterwards."""
    embedded.faults.add({"settings": {"no_offer_until_s": 0}})
    body = {"client_order_id": client_id or f"hand {symbol}", "symbol": symbol, "side": side, "type": "market"}
    embedded.book.submit({**body, "time_in_force": "day", "qty": qty})
    embedded.settle()


def speak_to(url: str, settings: Settings) -> AlpacaBroker:
    """The real adapter over loopback."""
    return AlpacaBroker(Hosts(url, url, is_live=False), "key", "secret", timeout_s=settings.broker.timeout_s)


def make_context(
    folder: Path, broker: Broker, settings: Settings, snapshot: MarketSnapshot | None = None, **changes: Any
) -> TradingContext:
    """A run's tools over the folder; close `rig.ledger` afterwards."""
    ledger: OrderLedger = open_ledger(settings, folder / "orders.sqlite")
    rig = TradingContext(
        settings, "simulated", broker, ledger, Warehouse(folder / "kobe.duckdb"), KillSwitch(folder / "KILL_SWITCH"),
        snapshot or make_snapshot(),
    )  # fmt: skip
    return dataclasses.replace(rig, **changes)


def with_blocked_account(rig: TradingContext) -> TradingContext:
    """The rig with a broker that says the account may not trade."""
    inner: Any = rig.broker

    class Blocked:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def account(self) -> Any:
            return dataclasses.replace(inner.account(), trading_blocked=True)

    return dataclasses.replace(rig, broker_or_error=Blocked())  # type: ignore[arg-type]


def _signal(symbol: str, session: dt.date, rank: int) -> Signal:
    price = price_of(symbol)
    return Signal(session, symbol, "long", float(rank), price, price, price * 0.1, 5.0, 0.1, price * 0.9, price * 0.05)


def _bars(symbol: str) -> Bars:
    size = len(SESSIONS)
    price = price_of(symbol)
    # The indicator is read one bar late: what flags at the entry day's close is the bar before it.
    rsi2 = np.where(np.array(SESSIONS) == FIRST_SIGNALS, 80.0 if symbol in LEAVING else 50.0, 50.0)
    full = np.full(size, price)
    return Bars(
        np.array(SESSIONS, dtype="datetime64[D]"), full, np.ones(size),
        {"rsi2": rsi2, "sma200": full * 0.9, "atr14": full * 0.05, "ibs": np.full(size, 0.5)},
    )  # fmt: skip
