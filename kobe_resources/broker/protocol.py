"""What Kobe asks of a broker: its values, its questions and its errors, the same for every broker.

Money and shares are Decimal, times are aware UTC. Values are trusted to be parsed: an adapter lets none through unchecked.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Literal, Protocol

from kobe_resources.errors import KobeError

Side = Literal["buy", "sell"]
OrderKind = Literal["limit", "stop", "market"]
TimeInForce = Literal["ioc", "day", "gtc", "opg"]
OrderScope = Literal["open", "closed", "all"]
MAX_CLIENT_ORDER_ID = 128
OPTION = re.compile(r"[A-Z.]{1,6}\d{6}[CP]\d{8}")
"""A symbol of the options' clearing house: root, expiry, right, strike."""
NO_STOCKS = ("us_option", "crypto", "crypto_perp")
"""Classes of assets that Kobe never trades."""


def is_stock(symbol: str, asset_class: str = "") -> bool:
    """Whether it is a stock, as far as symbol and class say: no option contract, and no pair of currencies."""
    return asset_class not in NO_STOCKS and "/" not in symbol and OPTION.fullmatch(symbol) is None


class OrderStatus(StrEnum):
    """Alpaca's order statuses; one it invents later reads UNKNOWN, its text kept in `BrokerOrder.raw_status`."""

    NEW = "new"
    PENDING_NEW = "pending_new"
    ACCEPTED = "accepted"
    ACCEPTED_FOR_BIDDING = "accepted_for_bidding"
    PARTIALLY_FILLED = "partially_filled"
    HELD = "held"
    STOPPED = "stopped"
    SUSPENDED = "suspended"
    CALCULATED = "calculated"
    DONE_FOR_DAY = "done_for_day"
    PENDING_CANCEL = "pending_cancel"
    PENDING_REPLACE = "pending_replace"
    PENDING_REVIEW = "pending_review"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    REPLACED = "replaced"
    UNKNOWN = "unknown"


TERMINAL_STATUSES = frozenset(
    {OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.EXPIRED, OrderStatus.REJECTED, OrderStatus.REPLACED}
)


@dataclass(frozen=True, slots=True)
class Clock:
    """The broker's clock: the only one that says whether the market is open. A simulated broker's stands in the stored bars."""

    timestamp: dt.datetime
    is_open: bool
    next_open: dt.datetime
    next_close: dt.datetime


@dataclass(frozen=True, slots=True)
class TradingDay:
    """One session of the exchange, half days included."""

    session: dt.date
    open: dt.datetime
    close: dt.datetime


@dataclass(frozen=True, slots=True)
class Account:
    """The account's state; dollars."""

    id: str
    number: str
    status: str
    cash: Decimal
    equity: Decimal
    buying_power: Decimal
    shorting_enabled: bool
    trading_blocked: bool
    account_blocked: bool
    trade_suspended_by_user: bool

    @property
    def may_trade(self) -> bool:
        """Whether the account is active and not blocked."""
        blocked = self.trading_blocked or self.account_blocked or self.trade_suspended_by_user
        return self.status == "ACTIVE" and not blocked


@dataclass(frozen=True, slots=True)
class Asset:
    """What the broker lets us do with a symbol."""

    symbol: str
    name: str
    status: str
    tradable: bool
    shortable: bool
    easy_to_borrow: bool
    has_options: bool


@dataclass(frozen=True, slots=True)
class Quote:
    """The latest bid and ask. Judge it before use: either side may be 0, crossed, stale or not even finite."""

    symbol: str
    bid: Decimal
    ask: Decimal
    timestamp: dt.datetime


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """An order to send; `client_order_id` is ours, at most 128 characters, and never used twice."""

    client_order_id: str
    symbol: str
    side: Side
    qty: Decimal
    kind: OrderKind
    time_in_force: TimeInForce
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.client_order_id) <= MAX_CLIENT_ORDER_ID:
            raise ValueError(f"a client order id has 1 to {MAX_CLIENT_ORDER_ID} characters")
        given = {"qty": self.qty, "limit_price": self.limit_price, "stop_price": self.stop_price}
        for name, value in given.items():
            if value is not None and not (value.is_finite() and value > 0):
                raise ValueError(f"{name} of an order must be finite and positive, not {value}")
        if (self.limit_price is None) is (self.kind == "limit") or (self.stop_price is None) is (self.kind == "stop"):
            raise ValueError(f"the prices do not fit a {self.kind} order")


@dataclass(frozen=True, slots=True)
class BrokerOrder:
    """An order as the broker returned it; `request_id` names the answer it was read from.

    `qty` is 0 on orders given in dollars, which Kobe never sends. `kind` may be one that Kobe never sends. unread: what of it
    cannot be read, as of an option order with several legs; symbol, side and sizes of such a row mean nothing. replaced_by,
    replaces: the order in its place, and the one in whose place it is. earlier_ids: of the orders that it took the place of,
    where it is reported under their client id.
    """

    id: str
    client_order_id: str
    symbol: str
    side: Side
    kind: str
    qty: Decimal
    filled_qty: Decimal
    filled_avg_price: Decimal | None
    status: OrderStatus
    raw_status: str
    limit_price: Decimal | None
    stop_price: Decimal | None
    submitted_at: dt.datetime | None
    request_id: str | None = None
    time_in_force: str = ""
    replaced_by: str | None = None
    replaces: str | None = None
    earlier_ids: tuple[str, ...] = ()
    unread: str = ""
    asset_class: str = ""

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more will fill. An unknown status is not terminal."""
        return self.status in TERMINAL_STATUSES


@dataclass(frozen=True, slots=True)
class BrokerPosition:
    """Shares held: negative when short; `qty_available` is what no open order holds (never negative).

    avg_entry_price: 0 where the broker knows none. unread: why the row could not be read; its shares are 0 then.
    """

    symbol: str
    qty: Decimal
    qty_available: Decimal
    avg_entry_price: Decimal
    unread: str = ""
    asset_class: str = ""


@dataclass(frozen=True, slots=True)
class BrokerFill:
    """One execution; `qty` is positive, `side` says which way."""

    id: str
    order_id: str
    symbol: str
    side: Side
    qty: Decimal
    price: Decimal
    at: dt.datetime


@dataclass(frozen=True, slots=True)
class BrokerActivity:
    """What moved cash without a trade: `kind` in the broker's words (DIV, FEE, INT, CSD, …), `amount` dollars, negative where
    they left, and 0 of one that was cancelled; `symbol` empty where it is about none.
    """

    id: str
    kind: str
    symbol: str
    amount: Decimal
    at: dt.datetime
    description: str = ""


class BrokerError(KobeError):
    """A request to a broker was refused, unanswered, or answered unreadably; the text never holds a key."""

    def __init__(self, what: str, hint: str = "", request_id: str | None = None) -> None:
        super().__init__(what, hint)
        self.request_id = request_id


class Refused(BrokerError):
    """The broker refused for certain (a 4xx with a JSON message): there is no such order."""

    def __init__(self, code: int | None, message: str, request_id: str | None = None) -> None:
        super().__init__(f"the broker refused: {message}", "see its message; nothing was placed", request_id)
        self.code = code
        self.message = message


class DuplicateClientOrderId(BrokerError):
    """The broker already knows this client order id: the order exists, look it up."""


class Unauthorized(BrokerError):
    """401: no key will do better by trying again; the run stops."""


class WrongAccount(BrokerError):
    """Host, stage and account do not belong together: nothing was sent."""


class SendsNothing(BrokerError):
    """The stage `shadow` was asked to send an order."""


class Unresolved(BrokerError):
    """Raised where the order may exist or not (timeout, reset, 5xx, 429, unreadable answer): only a look-up decides."""

    def __init__(self, cause: str, request_id: str | None = None) -> None:
        super().__init__(f"the broker's answer is unknown ({cause})", "look the order up by its client id", request_id)
        self.cause = cause


class BrokerUnavailable(BrokerError):
    """A question got no usable answer, also after retries; raised by `submit` only before anything was sent."""


class NotEntitled(BrokerUnavailable):
    """The data host does not give quotes to these keys: the keys, or the plan behind them, do not fit the feed."""


class Broker(Protocol):
    """The questions. Reads raise BrokerUnavailable, Unauthorized or WrongAccount."""

    def clock(self) -> Clock:
        """The broker's time and whether the market is open."""

    def calendar(self, start: dt.date, end: dt.date) -> list[TradingDay]:
        """Sessions from `start` to `end`, both included, in order."""

    def account(self) -> Account:
        """The account; WrongAccount where it is not of the stage."""

    def asset(self, symbol: str) -> Asset | None:
        """What is known of a symbol; None where the broker has no such asset."""

    def assets(self) -> list[Asset]:
        """Every active US equity."""

    def quotes(self, symbols: Iterable[str]) -> dict[str, Quote]:
        """The latest quote of each symbol; a symbol without one is absent."""

    def submit(self, request: OrderRequest) -> BrokerOrder:
        """Send one order, once; the order as the broker took it.

        Raises Refused, DuplicateClientOrderId, Unauthorized or Unresolved; where nothing was sent BrokerUnavailable or
        WrongAccount. The answer holds no fills: look the order up.
        """

    def order_by_client_id(self, client_order_id: str) -> BrokerOrder | None:
        """The order with this id; None where the broker does not know it (yet)."""

    def orders(self, status: OrderScope = "all", after: dt.datetime | None = None) -> list[BrokerOrder]:
        """Every order submitted after `after`, oldest first, all pages."""

    def positions(self) -> list[BrokerPosition]:
        """Everything held."""

    def fills(self, after: dt.datetime | None = None) -> list[BrokerFill]:
        """Every execution after `after`, oldest first, all pages."""

    def activities(self, after: dt.datetime | None = None) -> list[BrokerActivity]:
        """What moved cash without a trade after `after`, oldest first, all pages."""

    def cancel(self, order_id: str) -> None:
        """Ask for a cancel by the broker's id; it is done only when a look-up says so.

        Raises Refused where it can no longer be cancelled or is not known; Unresolved where the answer is unclear: ask again.
        """

    def close(self) -> None:
        """Close the connections (and the embedded server that `open_broker` started)."""
