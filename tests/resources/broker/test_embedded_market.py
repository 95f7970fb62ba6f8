"""The embedded market through a session and from one to the next: rules.md, section 4, fill by fill."""

from __future__ import annotations

import datetime as dt
import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest

from kobe_resources.broker.alpaca.adapter import AlpacaBroker
from kobe_resources.broker.exchange.bars import ExchangeSplit, NoBars
from kobe_resources.broker.exchange.clock import Moment
from kobe_resources.broker.exchange.embedded import EXACT, StoredBars
from kobe_resources.broker.exchange.state import State
from kobe_resources.broker.protocol import OrderRequest, OrderStatus, Refused
from kobe_resources.broker.quotes import QuoteProblem, judge_quote
from kobe_resources.errors import UsageError
from kobe_resources.settings.models import TradingSettings
from tests.resources.broker.conftest import SESSIONS, Open, flat_rows, limit_order, stop_order

SLIP = 0.0005
D1, D2, D3 = SESSIONS[:3]


def found(broker: AlpacaBroker, client_id: str) -> tuple[OrderStatus, float | None]:
    """Status and fill price of an order."""
    order = broker.order_by_client_id(client_id)
    assert order is not None
    price = order.filled_avg_price
    return order.status, None if price is None else float(price)


def test_the_quote_of_each_phase(opened: Open) -> None:
    embedded, broker = opened(("A", D1, 10.0, 12.0, 9.0, 11.0), ("A", D2, 20.0, 22.0, 19.0, 21.0))
    seen = {}
    for session, phase in ((D1, "open"), (D1, "close"), (D1, "after"), (D2, "pre_open"), (D2, "open"), (D2, "close")):
        embedded.advance_to(session, phase)
        quote, clock = broker.quotes(["A"])["A"], broker.clock()
        assert float(quote.ask) == pytest.approx(float(quote.bid) * (1 + SLIP) / (1 - SLIP))
        veto = judge_quote(quote, clock.timestamp, TradingSettings())
        seen[session, phase] = (float(quote.ask), clock.is_open, veto)
    assert seen == {
        (D1, "open"): (10 * (1 + SLIP), True, None),
        (D1, "close"): (11 * (1 + SLIP), True, None),
        (D1, "after"): (11 * (1 + SLIP), False, QuoteProblem.STALE),
        (D2, "pre_open"): (11 * (1 + SLIP), False, QuoteProblem.STALE),
        (D2, "open"): (20 * (1 + SLIP), True, None),
        (D2, "close"): (21 * (1 + SLIP), True, None),
    }


def test_a_session_without_a_bar_has_no_opening_quote_and_fills_nothing(opened: Open) -> None:
    embedded, broker = opened(("A", D1, 10.0, 12.0, 9.0, 11.0), ("A", D3, 20.0, 22.0, 19.0, 21.0), shorting_enabled=True)
    broker.submit(limit_order("in", symbol="A", limit="11.00"))
    embedded.advance_to(D2, "open")
    assert broker.quotes(["A"]) == {}
    broker.submit(limit_order("more", symbol="A", limit="99.00"))
    assert found(broker, "more") == (OrderStatus.CANCELED, None)
    broker.submit(stop_order("stop", symbol="A", stop="8.00"))
    embedded.advance_to(D2, "close")
    assert found(broker, "stop")[0] is OrderStatus.NEW
    assert judge_quote(broker.quotes(["A"])["A"], broker.clock().timestamp, TradingSettings()) is QuoteProblem.STALE


@pytest.mark.parametrize(
    ("bar", "stop", "price"),
    [
        ((100.0, 101.0, 95.99, 100.0), "96.00", 96.0),
        ((100.0, 101.0, 96.00, 100.0), "96.00", 96.0),
        ((100.0, 101.0, 96.01, 100.0), "96.00", None),
        ((90.0, 99.0, 89.0, 98.0), "96.00", 90.0),
    ],
)
@pytest.mark.parametrize("is_long", [True, False])
def test_a_stop_triggers_inside_the_bar_of_a_later_session(
    opened: Open, bar: tuple[float, ...], stop: str, price: float | None, is_long: bool
) -> None:
    open_, high, low, close = bar
    if not is_long:
        # The mirror image about 100.
        open_, high, low, close = 200 - open_, 200 - low, 200 - high, 200 - close
        stop = str(200 - Decimal(stop))
    embedded, broker = opened(("A", D1, 100.0, 100.0, 100.0, 100.0), ("A", D2, open_, high, low, close))
    enter, leave = ("buy", "sell") if is_long else ("sell", "buy")
    broker.submit(limit_order("in", enter, symbol="A", limit="101.00" if is_long else "99.00"))
    broker.submit(stop_order("stop", leave, symbol="A", stop=stop))
    embedded.advance_to(D2, "open")
    assert found(broker, "stop") == (OrderStatus.NEW, None)
    embedded.advance_to(D2, "close")
    if price is None:
        assert found(broker, "stop") == (OrderStatus.NEW, None)
        return
    expected = price * (1 - SLIP) if is_long else (200 - price) * (1 + SLIP)
    assert found(broker, "stop") == (OrderStatus.FILLED, expected)
    assert broker.positions() == []
    assert broker.fills()[-1].at == embedded.book.market.within_bar(D2)


def test_a_stop_placed_at_the_open_triggers_in_the_entry_bar_and_one_at_the_close_does_not(opened: Open) -> None:
    embedded, broker = opened(("A", D1, 100.0, 101.0, 90.0, 95.0), ("A", D2, 97.0, 98.0, 97.0, 97.0))
    broker.submit(limit_order("in", symbol="A", qty="2"))
    broker.submit(stop_order("early", symbol="A", stop="96.00"))
    embedded.advance_to(D1, "close")
    assert found(broker, "early") == (OrderStatus.FILLED, 96.0 * (1 - SLIP))
    broker.submit(stop_order("late", symbol="A", stop="94.00"))
    embedded.advance_to(D2, "after")
    assert found(broker, "late") == (OrderStatus.NEW, None)


def test_an_exit_at_the_open_comes_before_the_stop_in_the_bar(opened: Open) -> None:
    embedded, broker = opened(("A", D1, 100.0, 100.0, 100.0, 100.0), ("A", D2, 101.0, 102.0, 80.0, 90.0))
    broker.submit(limit_order("in", symbol="A"))
    stop = broker.submit(stop_order("stop", symbol="A"))
    embedded.advance_to(D2, "open")
    broker.cancel(stop.id)
    broker.submit(limit_order("out", "sell", symbol="A", limit="100.00"))
    embedded.advance_to(D2, "after")
    assert found(broker, "out") == (OrderStatus.FILLED, 101.0 * (1 - SLIP))
    assert found(broker, "stop") == (OrderStatus.CANCELED, None)


def test_a_delisted_symbol_can_be_left_at_its_last_close_and_then_not_be_traded(opened: Open) -> None:
    embedded, broker = opened(("A", D1, 10.0, 12.0, 9.0, 11.0), ("A", D2, 10.0, 12.0, 9.5, 8.0))
    broker.submit(limit_order("in", symbol="A", limit="11.00"))
    embedded.advance_to(D2, "close")
    broker.submit(limit_order("out", "sell", symbol="A", limit="7.00"))
    assert found(broker, "out") == (OrderStatus.FILLED, 8.0 * (1 - SLIP))
    embedded.advance_to(D3, "open")
    asset = broker.asset("A")
    assert asset is not None
    assert (asset.tradable, asset.status) == (False, "inactive")
    assert [asset.symbol for asset in broker.assets()] == ["KO", "PEP"]
    with pytest.raises(Refused, match="not tradable"):
        broker.submit(limit_order("again", symbol="A"))


@pytest.mark.parametrize(("ratio", "shares"), [(2.0, 6.0), (0.1, 0.3), (1.5, 4.5)])
def test_in_a_replay_a_split_adjusts_positions_and_open_stops_to_the_bit(opened: Open, ratio: float, shares: float) -> None:
    after = 100.0 / ratio
    rows = (("A", D1, 100.0, 101.0, 99.0, 100.0), ("A", D3, after, after * 1.01, after * 0.5, after))
    splits = (ExchangeSplit("A", D2, ratio), ExchangeSplit("KO", D2, 4.0), ExchangeSplit("A", dt.date(2030, 1, 1), 9.0))
    embedded, broker = opened(*rows, splits=splits, strictness=EXACT)
    broker.submit(limit_order("in", qty="3", symbol="A"))
    broker.submit(stop_order("stop", qty="3", symbol="A", stop="96.00"))
    cash = broker.account().cash
    embedded.advance_to(D2, "pre_open")
    (position,) = broker.positions()
    assert float(position.qty) == pytest.approx(shares, rel=1e-12)
    assert float(position.avg_entry_price) == pytest.approx(100 * (1 + SLIP) / ratio)
    (stop,) = broker.orders("open")
    assert stop.stop_price is not None
    assert float(stop.stop_price) == 96.0 / ratio
    assert float(broker.quotes(["A"])["A"].ask) == pytest.approx(after * (1 + SLIP))
    assert broker.account().cash == cash
    assert float(broker.account().equity) == pytest.approx(float(cash) + 300.0)
    embedded.advance_to(D3, "close")
    assert found(broker, "stop") == (OrderStatus.FILLED, 96.0 / ratio * (1 - SLIP))
    assert broker.positions() == []


def test_in_a_replay_a_position_of_any_size_may_be_closed_whole(opened: Open) -> None:
    embedded, broker = opened(
        ("A", D1, 100.0, 101.0, 99.0, 100.0),
        ("A", D2, 60.0, 61.0, 59.0, 60.0),
        splits=(ExchangeSplit("A", D2, 1.5),),
        strictness=EXACT,
    )
    broker.submit(limit_order("in", symbol="A"))
    embedded.advance_to(D2, "open")
    with pytest.raises(Refused, match="fractional"):
        broker.submit(limit_order("part", "sell", qty="0.5", limit="50.00", symbol="A"))
    broker.submit(limit_order("all", "sell", qty="1.5000000000001", limit="50.00", symbol="A"))
    assert broker.positions() == []


def test_time_passes_through_every_session_between(opened: Open) -> None:
    embedded, broker = opened(
        ("A", D1, 100.0, 101.0, 99.0, 100.0), ("A", D2, 99.0, 99.0, 90.0, 99.0), ("A", D3, 99.0, 99.0, 99.0, 99.0)
    )
    broker.submit(limit_order("in", symbol="A"))
    broker.submit(stop_order("stop", symbol="A"))
    embedded.advance_to(SESSIONS[-1], "open")
    assert found(broker, "stop") == (OrderStatus.FILLED, 96.0 * (1 - SLIP))


def test_the_exchange_has_each_session_once_and_goes_on_after_the_last_bar() -> None:
    days = [day.session for day in StoredBars.of_rows(flat_rows("KO")).days]
    assert days[: len(SESSIONS)] == SESSIONS
    assert days == sorted(set(days))
    assert days[len(SESSIONS)] == dt.date(2024, 7, 15)


def test_time_does_not_go_back_once_there_was_an_order(opened: Open) -> None:
    embedded, broker = opened()
    embedded.advance_to(D3, "close")
    embedded.advance_to(D1, "open")
    broker.submit(limit_order("in"))
    embedded.advance_to(D1, "open")
    embedded.advance_to(D2, "open")
    with pytest.raises(UsageError, match="later than"):
        embedded.advance_to(D1, "close")
    with pytest.raises(UsageError, match="no session"):
        embedded.advance_to(dt.date(2024, 7, 4), "open")
    assert embedded.moment.session == D2


def test_a_day_order_waits_for_the_open_and_expires_at_the_close(opened: Open) -> None:
    embedded, broker = opened(("A", D2, 100.0, 101.0, 99.0, 100.0))
    embedded.advance_to(D2, "pre_open")
    with pytest.raises(Refused, match="market hours"):
        broker.submit(limit_order("ioc", symbol="A"))
    for client_id, limit in (("queued", "101.00"), ("touched", "99.50"), ("far", "98.00")):
        broker.submit(OrderRequest(client_id, "A", "buy", Decimal(1), "limit", "day", Decimal(limit)))
    broker.submit(OrderRequest("market", "A", "buy", Decimal(1), "market", "day"))
    assert [order.client_order_id for order in broker.orders("open")] == ["queued", "touched", "far", "market"]
    embedded.advance_to(D2, "open")
    assert found(broker, "queued") == found(broker, "market") == (OrderStatus.FILLED, 100.0 * (1 + SLIP))
    embedded.advance_to(D2, "close")
    assert found(broker, "touched") == (OrderStatus.FILLED, 99.5)
    embedded.advance_to(D2, "after")
    assert found(broker, "far") == (OrderStatus.EXPIRED, None)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (limit_order("a", symbol="NOPE"), "not found"),
        (limit_order("a", limit="100.001"), "sub-penny"),
        (stop_order("a", "buy", stop="100.001"), "sub-penny"),
        (limit_order("a", qty="1.5"), "fractional"),
        (limit_order("a", qty="100"), "insufficient buying power"),
        (OrderRequest("a", "KO", "buy", Decimal(1), "stop", "ioc", stop_price=Decimal(96)), "time in force"),
        (OrderRequest("a", "KO", "buy", Decimal(101), "market", "day"), "insufficient buying power"),
        (limit_order("a", "sell", "6", limit="99.00", symbol="HELD"), "insufficient qty"),
        (limit_order("a", "sell"), "not allowed to short"),
    ],
)
def test_an_order_that_alpaca_refuses_is_refused_with_its_message(opened: Open, request_: OrderRequest, message: str) -> None:
    _, broker = opened(*flat_rows("HELD"), shorting_enabled=False)
    broker.submit(limit_order("held", qty="5", symbol="HELD"))
    with pytest.raises(Refused, match=message):
        broker.submit(request_)
    assert len(broker.orders()) == 1


def test_a_resting_order_reserves_its_cash(opened: Open) -> None:
    _, broker = opened(initial_cash=1000.0)
    resting = broker.submit(OrderRequest("rest", "KO", "buy", Decimal(9), "limit", "day", Decimal(95)))
    assert broker.account().buying_power == Decimal(1000 - 9 * 95)
    with pytest.raises(Refused, match="buying power"):
        broker.submit(limit_order("more", qty="2"))
    broker.cancel(resting.id)
    broker.submit(limit_order("more", qty="2"))


def test_fractional_ioc_stops_and_shorts_only_by_the_switch(opened: Open) -> None:
    _, strict = opened()
    _, loose = opened(fractional=True)
    for request in (limit_order("l", qty="0.7388291827"), limit_order("s", "sell", qty="0.25", limit="99.00", symbol="KO")):
        with pytest.raises(Refused, match="fractional"):
            strict.submit(request)
    loose.submit(limit_order("l", qty="0.7388291827"))
    loose.submit(stop_order("x", qty="0.7388291827"))
    assert loose.positions()[0].qty == Decimal("0.7388291827")
    assert loose.positions()[0].qty_available == 0


def test_a_short_is_sold_bought_back_and_never_crosses_zero(opened: Open) -> None:
    embedded, broker = opened()
    broker.submit(limit_order("in", "sell", qty="3", limit="99.00"))
    (position,) = broker.positions()
    assert (position.qty, position.qty_available) == (Decimal(-3), Decimal(3))
    assert float(broker.account().cash) == 10_000 + 3 * (100 * (1 - SLIP))
    assert float(broker.account().equity) == pytest.approx(10_000, abs=0.5)
    with pytest.raises(Refused, match="insufficient qty"):
        broker.submit(limit_order("across", qty="4"))
    broker.submit(stop_order("stop", "buy", qty="3", stop="104.00"))
    embedded.advance_to(D1, "close")
    assert found(broker, "stop") == (OrderStatus.FILLED, 104.0 * (1 + SLIP))
    assert broker.positions() == []
    assert float(broker.account().cash) == pytest.approx(10_000 + 3 * (100 * (1 - SLIP) - 104 * (1 + SLIP)))


def test_adding_to_a_position_averages_its_price(opened: Open) -> None:
    embedded, broker = opened(("A", D1, 10.0, 10.0, 10.0, 10.0), ("A", D2, 20.0, 20.0, 20.0, 20.0), slippage_bps=0.0)
    broker.submit(limit_order("one", qty="3", symbol="A", limit="10.00"))
    embedded.advance_to(D2, "open")
    broker.submit(limit_order("two", qty="1", symbol="A", limit="20.00"))
    assert (broker.positions()[0].qty, broker.positions()[0].avg_entry_price) == (Decimal(4), Decimal("12.5"))
    broker.submit(limit_order("out", "sell", qty="1", symbol="A", limit="20.00"))
    assert broker.positions()[0].avg_entry_price == Decimal("12.5")


def test_rounding_leaves_no_dust_of_a_position(opened: Open) -> None:
    embedded, broker = opened(("A", D1, 10.0, 10.0, 9.0, 9.0), ("A", D2, 9.0, 9.0, 8.0, 8.0), fractional=True)
    # 1.9896 + 2.3873 - 4.0047 - 0.3722 is 3e-16 in binary.
    for client_id, qty in (("one", "1.9896"), ("two", "2.3873")):
        broker.submit(limit_order(client_id, qty=qty, symbol="A", limit="10.01"))
    for client_id, qty, stop in (("low", "0.3722", "8.50"), ("high", "4.0047", "9.50")):
        broker.submit(stop_order(client_id, qty=qty, stop=stop, symbol="A"))
    embedded.advance_to(D1, "close")
    assert [float(position.qty) for position in broker.positions()] == pytest.approx([0.3722])
    embedded.advance_to(D2, "close")
    assert broker.positions() == []


@pytest.mark.parametrize(("price", "fills"), [(10.0 + 5e-9, True), (10.0 + 5e-7, False)])
def test_a_quote_a_hairs_breadth_beyond_the_limit_counts_as_on_it(opened: Open, price: float, fills: bool) -> None:
    _, broker = opened(("A", D1, price, price, price, price), slippage_bps=0.0)
    broker.submit(limit_order("in", symbol="A", limit="10.00"))
    assert found(broker, "in") == ((OrderStatus.FILLED, price) if fills else (OrderStatus.CANCELED, None))


def test_no_two_orders_share_a_time(opened: Open) -> None:
    _, broker = opened()
    for i in range(5):
        broker.submit(limit_order(f"o{i}"))
    assert len({order.submitted_at for order in broker.orders()}) == 5


def test_no_bars_no_market() -> None:
    with pytest.raises(NoBars):
        StoredBars({})


def test_a_full_disk_is_said_in_plain_words_and_leaves_the_market_as_it_was(tmp_path: Path) -> None:
    state = State(tmp_path, "PA0", 1_000.0, Moment(D1, "open"))
    before = dict(state.account())
    pages = state.rows("PRAGMA page_count")[0][0]
    state.run(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(sqlite3.OperationalError, match="disk is full"), state.transaction():
        state.run("CREATE TABLE filler AS SELECT zeroblob(100000) AS bytes")
    assert dict(state.account()) == before
    with state.transaction():
        state.set_moment(Moment(D2, "open"))
    assert state.moment() == Moment(D2, "open")
    state.close()
