"""A plan that reaches back less far than what is asked for: what it gives is loaded, what it lacks is named and asked later."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest

from kobe_resources.market_data.polygon.errors import PolygonEntitlementError
from tests.resources.market_data.polygon.conftest import Shop, assert_same_bars, served
from tests.support.loopback_polygon import Market, random_market
from tests.support.loopback_polygon import faults as fault

pytestmark = pytest.mark.usefixtures("warehouses_stay_open")

DAY = dt.date(2026, 6, 15)


def test_a_range_cut_by_the_plan_is_covered_from_the_day_it_begins_and_asked_again_after_an_upgrade(
    shop: Shop, market: Market
) -> None:
    shop.server.plan_from = DAY
    report = shop.sync()
    assert_same_bars(shop.stored(), served(market, str(DAY)))
    assert any("begin on 2026-06-15" in note for note in report.notes)
    assert shop.rows("SELECT DISTINCT span_from FROM bar_checkpoints WHERE kind IN ('symbol', 'load')") == [(DAY,)]
    shop.server.forget()
    assert shop.sync().skipped
    assert len(shop.server.calls) == 1
    shop.now += dt.timedelta(days=3)
    shop.server.forget()
    shop.sync()
    assert len(shop.server.paths("/range/")) == 1
    shop.server.plan_from = None
    shop.sync()
    assert_same_bars(shop.stored(), served(market, last="2026-11-23"))
    shop.server.forget()
    assert shop.sync().skipped
    assert not shop.server.calls


@pytest.mark.parametrize("manner", ["range", "grouped"])
def test_a_refusal_of_a_part_of_the_span_names_the_first_day_that_the_plan_gives(shop: Shop, manner: str) -> None:
    shop.server.plan_from, shop.server.refuses_early = DAY, True
    with pytest.raises(PolygonEntitlementError, match="it gives bars from 2026-06-15 on") as caught:
        shop.sync(first_load=manner)
    assert 'data.start = "2026-06-15"' in caught.value.hint
    shop.sync(first_load=manner, start="2026-06-15")
    assert_same_bars(shop.stored(), served(shop.server.market, str(DAY)))


def test_options_of_a_class_share_may_stand_under_the_other_spelling(with_market: Callable[[Market], Shop]) -> None:
    bars = random_market(2, 60, 3, dt.date(2026, 11, 20)).bars.replace({"symbol": {"S00000": "BRK.B"}})
    shop = with_market(Market(bars))
    row = {"underlying_ticker": "BRK/B", "ticker": "O:BRKB270115C00085000"}
    shop.server.faults.on(fault.saying(results=[row]), path="underlying_ticker=BRK.B")
    shop.sync(options=True)
    assert shop.rows("SELECT symbol, has_options FROM option_evidence ORDER BY 1") == [("BRK.B", True), ("S00001", True)]


def test_options_of_a_class_share_are_asked_for_under_the_other_spelling_too(with_market: Callable[[Market], Shop]) -> None:
    bars = random_market(2, 60, 3, dt.date(2026, 11, 20)).bars.replace({"symbol": {"S00000": "BRK.B", "S00001": "BF.A"}})
    shop = with_market(Market(bars, optionable={"BRK/B"}))
    shop.sync(options=True)
    assert shop.rows("SELECT symbol, has_options FROM option_evidence ORDER BY 1") == [("BF.A", False), ("BRK.B", True)]


def test_a_symbol_whose_options_cannot_be_read_holds_nobody_up(shop: Shop, market: Market) -> None:
    shop.server.faults.on(fault.saying(results=[{"underlying_ticker": "OTHER"}]), path="underlying_ticker=S00003")
    report = shop.sync(options=True)
    assert_same_bars(shop.stored(), served(market))
    assert any("options of S00003 could not be read" in note for note in report.notes)
    assert shop.rows("SELECT count(*) FROM option_evidence") == [(9,)]
