"""The stage `shadow`: another broker's answers, and no way to send it anything."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from kobe_resources.broker.protocol import (
    Account,
    Asset,
    Broker,
    BrokerActivity,
    BrokerFill,
    BrokerOrder,
    BrokerPosition,
    Clock,
    OrderRequest,
    OrderScope,
    Quote,
    SendsNothing,
    TradingDay,
)

MEND = "set broker.stage to simulated, paper or live to send orders"


class ShadowBroker:
    """Reads through `inner`; `submit` and `cancel` raise SendsNothing. embedded: the inner one's, if it has one."""

    def __init__(self, inner: Broker) -> None:
        self._inner = inner
        self.embedded: Any = getattr(inner, "embedded", None)

    def clock(self) -> Clock:
        """As the inner broker."""
        return self._inner.clock()

    def calendar(self, start: dt.date, end: dt.date) -> list[TradingDay]:
        """As the inner broker."""
        return self._inner.calendar(start, end)

    def account(self) -> Account:
        """As the inner broker."""
        return self._inner.account()

    def asset(self, symbol: str) -> Asset | None:
        """As the inner broker."""
        return self._inner.asset(symbol)

    def assets(self) -> list[Asset]:
        """As the inner broker."""
        return self._inner.assets()

    def quotes(self, symbols: Iterable[str]) -> dict[str, Quote]:
        """As the inner broker."""
        return self._inner.quotes(symbols)

    def submit(self, request: OrderRequest) -> BrokerOrder:
        """Never."""
        raise SendsNothing(f"stage shadow does not send {request.symbol}", MEND)

    def order_by_client_id(self, client_order_id: str) -> BrokerOrder | None:
        """As the inner broker."""
        return self._inner.order_by_client_id(client_order_id)

    def orders(self, status: OrderScope = "all", after: dt.datetime | None = None) -> list[BrokerOrder]:
        """As the inner broker."""
        return self._inner.orders(status, after)

    def positions(self) -> list[BrokerPosition]:
        """As the inner broker."""
        return self._inner.positions()

    def fills(self, after: dt.datetime | None = None) -> list[BrokerFill]:
        """As the inner broker."""
        return self._inner.fills(after)

    def activities(self, after: dt.datetime | None = None) -> list[BrokerActivity]:
        """As the inner broker."""
        return self._inner.activities(after)

    def cancel(self, order_id: str) -> None:
        """Never."""
        raise SendsNothing("stage shadow does not cancel orders", MEND)

    def close(self) -> None:
        """Close the inner broker."""
        self._inner.close()
