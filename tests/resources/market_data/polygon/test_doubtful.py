"""Loads whose vendor answers with nothing, with rows that cannot be kept, or not at all: nothing false is covered."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pandas as pd
import pytest

from kobe_resources.market_data.polygon.errors import PolygonError, PolygonIncomplete, PolygonServerError
from tests.resources.market_data.polygon.conftest import FRIDAY, FRIDAY_NIGHT, HASTE, Shop, assert_same_bars, days_asked, served
from tests.support.loopback_polygon import Market, random_market, ticker_row
from tests.support.loopback_polygon import faults as fault
from tests.support.loopback_polygon.faults import Reply

pytestmark = pytest.mark.usefixtures("warehouses_stay_open")

RANGE, GROUPED = "/range/", "/grouped/"
MONDAY_NIGHT = FRIDAY_NIGHT + dt.timedelta(days=3)
TUESDAY_NIGHT = FRIDAY_NIGHT + dt.timedelta(days=4)
SUNDAY = FRIDAY_NIGHT + dt.timedelta(days=1, hours=12)
"""Friday is surely published by then."""


def test_a_symbol_without_a_bar_is_an_empty_fetch_recorded_as_such(shop: Shop, market: Market) -> None:
    market.tickers = [ticker_row("S00001"), ticker_row("NOBARS")]
    shop.sync()
    checkpoint = "SELECT rows FROM bar_checkpoints WHERE kind = 'symbol' AND key = ?"
    assert shop.warehouse.rows(checkpoint, ["NOBARS"]) == [(0,)]
    assert shop.warehouse.rows(checkpoint, ["S00001"]) == [(224,)]
    shop.server.forget()
    assert shop.sync().skipped
    assert shop.server.calls == []


def test_a_load_without_a_single_bar_is_not_finished_and_covers_nothing(shop: Shop, market: Market) -> None:
    shop.now = SUNDAY
    shop.server.faults.on(fault.false_empty, path=RANGE)
    for _ in range(2):
        with pytest.raises(PolygonIncomplete, match=r"no bar of any candidate .*again.* check data\.polygon\.candidates"):
            shop.sync()
        assert shop.rows("SELECT count(*) FROM bar_checkpoints WHERE kind IN ('symbol', 'load')") == [(0,)]
    shop.server.faults.clear()
    assert not shop.sync().skipped
    assert_same_bars(shop.stored(), served(market))


def test_a_load_of_which_every_bar_is_refused_says_why(shop: Shop, market: Market) -> None:
    def unsound(reply: Reply, rng: random.Random) -> Reply:
        answer = orjson.loads(reply.body)
        rows = [{**row, "o": row["h"] * 9} for row in answer.get("results") or []]
        return replace(reply, body=orjson.dumps({**answer, "results": rows}))

    shop.now = SUNDAY
    shop.server.faults.on(unsound, path=RANGE)
    with pytest.raises(PolygonIncomplete, match=r"no sound bar of any candidate .* are refused, the first, of S0"):
        shop.sync()


def test_symbols_without_bars_are_covered_once_another_has_some(shop: Shop, market: Market) -> None:
    market.tickers = [ticker_row(symbol) for symbol in ("A", "B", "S00001")]
    shop.sync(in_flight=1)
    assert shop.rows("SELECT key, rows FROM bar_checkpoints WHERE kind = 'symbol' ORDER BY 1") == [
        ("A", 0),
        ("B", 0),
        ("S00001", 224),
    ]


def test_a_symbol_that_fails_for_itself_holds_no_other_up_and_is_named(shop: Shop, market: Market) -> None:
    shop.server.faults.on(fault.contradictory, path="S00004")
    with pytest.raises(PolygonIncomplete, match=r"1 symbols could not be loaded \(S00004: .*other bad rows") as caught:
        shop.sync()
    assert "again" in caught.value.hint
    assert "leave a symbol that fails for good out of data.polygon.candidates" in caught.value.hint
    assert_same_bars(shop.stored(), served(market)[lambda bars: bars["symbol"] != "S00004"].reset_index(drop=True))
    shop.server.faults.clear()
    shop.server.forget()
    assert shop.sync().added == 224
    assert len(shop.server.paths(RANGE)) == 1
    assert_same_bars(shop.stored(), served(market))


@pytest.mark.parametrize(
    ("broken", "what"),
    [(fault.refused(500), "failed with HTTP 500"), (fault.reset, "no whole answer"), (fault.hang, "it fell silent")],
)
def test_a_symbol_that_never_gets_an_answer_is_set_aside_and_asked_again(
    shop: Shop, market: Market, monkeypatch: pytest.MonkeyPatch, broken: fault.Fault, what: str
) -> None:
    monkeypatch.setattr("tests.resources.market_data.polygon.conftest.HASTE", replace(HASTE, read_s=0.5))
    shop.server.faults.on(broken, path="S0000[48]")
    for night, last in ((FRIDAY_NIGHT, "2026-11-20"), (MONDAY_NIGHT, "2026-11-23")):
        shop.now = night
        with pytest.raises(PolygonIncomplete, match=rf"2 symbols could not be loaded \(S00004: .*{what}"):
            shop.sync()
        stored, wanted = (
            bars[~bars["symbol"].isin(["S00004", "S00008"])].reset_index(drop=True)
            for bars in (shop.stored(), served(market, last=last))
        )
        assert_same_bars(stored, wanted)
        assert shop.rows("SELECT count(*) FROM bar_checkpoints WHERE key IN ('S00004', 'S00008')") == [(0,)]
    shop.server.faults.clear()
    shop.sync()
    assert_same_bars(shop.stored(), served(market, last="2026-11-23"))


def test_an_outage_does_not_cost_every_symbol_its_retries(with_market: Callable[[Market], Shop]) -> None:
    shop = with_market(random_market(60, 20, seed=1, end=FRIDAY))
    shop.server.faults.on(fault.refused(503), path=RANGE)
    with pytest.raises(PolygonServerError, match="HTTP 503"):
        shop.sync(start="2026-11-02", in_flight=1)
    assert len(set(shop.server.paths(RANGE))) <= 4


def test_when_every_symbol_fails_the_load_stops_early(with_market: Callable[[Market], Shop]) -> None:
    shop = with_market(random_market(60, 20, seed=1, end=FRIDAY))
    shop.server.faults.on(fault.html, path=RANGE)
    with pytest.raises(PolygonError, match="not JSON"):
        shop.sync(start="2026-11-02", in_flight=1)
    assert len(set(shop.server.paths(RANGE))) < 20


def test_a_vendor_that_goes_down_half_way_costs_nothing_that_had_arrived(shop: Shop, market: Market) -> None:
    shop.server.faults.on(fault.refused(503), path="S0000[5-9]")
    with pytest.raises(PolygonServerError):
        shop.sync(in_flight=2)
    had = {row[0] for row in shop.rows("SELECT key FROM bar_checkpoints WHERE kind = 'symbol'")}
    assert had == {f"S0000{number}" for number in range(5)}
    shop.server.faults.clear()
    shop.server.forget()
    shop.sync()
    assert {path.split("/")[4] for path in shop.server.paths(RANGE)} == set(market.symbols) - had
    assert_same_bars(shop.stored(), served(market))


def test_a_day_that_fails_stops_the_days_and_they_go_on_from_there(shop: Shop, market: Market) -> None:
    shop.server.faults.on(fault.refused(503), path="2026-06-15")
    with pytest.raises(PolygonServerError):
        shop.sync(first_load="grouped")
    assert shop.rows("SELECT max(session) FROM daily_bars") == [(dt.date(2026, 6, 12),)]
    shop.server.faults.clear()
    shop.server.forget()
    shop.sync(first_load="grouped")
    assert days_asked(shop)[0] == "2026-06-15"
    assert_same_bars(shop.stored(), served(market))


def test_an_empty_day_of_the_market_is_recorded_and_passed(market: Market, with_market: Callable[[Market], Shop]) -> None:
    shop = with_market(Market(market.bars[market.bars["session"] != "2026-06-15"]))
    shop.sync(first_load="grouped")
    assert shop.rows("SELECT rows FROM bar_checkpoints WHERE kind = 'day' AND key = '2026-06-15'") == [(0,)]
    assert_same_bars(shop.stored(), served(shop.server.market))


@pytest.mark.parametrize("day", ["2026-01-02", "2026-06-15", "2026-11-20"])
def test_a_session_whose_market_comes_back_empty_is_not_passed_over(shop: Shop, market: Market, day: str) -> None:
    shop.now = SUNDAY
    shop.server.faults.on(fault.false_empty, path=f"{GROUPED}.*{day}")
    with pytest.raises(PolygonIncomplete, match=f"no bars for {day}, a session of the exchange: .*again"):
        shop.sync(first_load="grouped")
    assert shop.rows(f"SELECT count(*) FROM bar_checkpoints WHERE span_to >= '{day}' AND kind IN ('symbol', 'load')") == [(0,)]
    shop.server.faults.clear()
    shop.sync(first_load="grouped")
    assert_same_bars(shop.stored(), served(market))


@pytest.mark.parametrize("manner", ["range", "grouped"])
def test_a_top_up_does_not_pass_over_sessions_that_come_back_empty(shop: Shop, market: Market, manner: str) -> None:
    shop.sync(first_load=manner)
    shop.now = TUESDAY_NIGHT + dt.timedelta(days=1, hours=1)
    shop.server.faults.on(fault.false_empty, path="/grouped/.*2026-11-2[345]")
    for _ in range(2):
        with pytest.raises(PolygonIncomplete, match="no bars for 2026-11-23"):
            shop.sync(first_load=manner)
    shop.server.faults.clear()
    assert shop.sync(first_load=manner).last_session == dt.date(2026, 11, 25)
    assert_same_bars(shop.stored(), served(market, last="2026-11-25"))


def test_days_before_the_vendor_s_history_are_passed_and_asked_once_when_that_is_known(shop: Shop, market: Market) -> None:
    shop.sync(first_load="grouped", start="2025-10-01", in_flight=1)
    first = market.bars["session"].min().date()
    before = [day for day in days_asked(shop) if day < str(first)]
    assert len(before) == len(set(before)) + HASTE.after_malformed > 20
    assert len(shop.server.paths(RANGE)) == 10
    assert_same_bars(shop.stored(), served(market, str(first)))


def test_a_bar_the_vendor_holds_wrong_is_refused_named_and_never_stored(
    market: Market, with_market: Callable[[Market], Shop]
) -> None:
    bad = (market.bars["symbol"] == "S00006") & (market.bars["session"] == "2026-05-05")
    shop = with_market(Market(market.bars.assign(low=market.bars["low"].where(~bad, 9999.0))))
    shop.sync()
    refusal = "SELECT source, symbol, session, reason FROM set_aside"
    wanted = [("polygon", "S00006", dt.date(2026, 5, 5), "open, high, low, close out of order")]
    assert shop.rows(refusal) == wanted
    assert_same_bars(shop.stored(), served(Market(market.bars[~bad])))
    shop.sync(force=True)
    assert shop.rows(refusal) == wanted


def test_a_ticker_with_control_bytes_is_counted_and_never_stored(market: Market, with_market: Callable[[Market], Shop]) -> None:
    bad = market.bars["symbol"] == "S00006"
    shop = with_market(Market(market.bars.assign(symbol=market.bars["symbol"].where(~bad, "S6\x07\n")), tickers=[]))
    shop.server.market.tickers = [ticker_row(symbol) for symbol in shop.server.market.symbols]
    shop.sync(first_load="grouped", start="2026-11-02")
    assert shop.rows("SELECT count(DISTINCT symbol) FROM daily_bars") == [(9,)]
    assert shop.rows("SELECT symbol, count(*) FROM set_aside GROUP BY 1") == [("S6\\x07\\n", 15)]
    assert "S6\x07\n" not in {row[0] for row in shop.rows("SELECT symbol FROM candidates")}


@pytest.mark.parametrize(("day", "since"), [("2026-06-15", "2026-06-13"), ("2026-11-20", "2026-11-20")])
def test_a_bar_whose_ticker_cannot_be_read_comes_by_a_range_call(shop: Shop, market: Market, day: str, since: str) -> None:
    shop.now = SUNDAY
    rows = orjson.loads(market.grouped_body(dt.date.fromisoformat(day)))["results"]
    rows[4] = {**rows[4], "T": "S0\x07\n"}
    shop.server.faults.on(fault.saying(results=rows), path=f"{GROUPED}.*{day}")
    shop.sync(first_load="grouped")
    assert set(shop.server.paths(RANGE)) == {f"/v2/aggs/ticker/S00004/range/1/day/{since}/2026-11-20"}
    assert_same_bars(shop.stored(), served(market))
    assert shop.rows("SELECT symbol, session FROM set_aside") == [("S0\\x07\\n", dt.date.fromisoformat(day))]


@pytest.mark.parametrize("manner", ["range", "grouped"])
@pytest.mark.parametrize(("off", "direction"), [(-1, "a day early"), (1, "a day late")])
def test_a_symbol_whose_dates_are_a_day_off_is_set_aside_however_it_is_loaded(
    market: Market, with_market: Callable[[Market], Shop], manner: str, off: int, direction: str
) -> None:
    wrong = market.bars["symbol"] == "S00004"
    days = market.bars["session"].where(~wrong, market.bars["session"] + pd.Timedelta(days=off))
    shop = with_market(Market(market.bars.assign(session=days)))
    shop.sync(first_load=manner)
    assert_same_bars(shop.stored(), served(Market(market.bars[~wrong])))
    reasons = [row[0] for row in shop.rows("SELECT DISTINCT reason FROM set_aside WHERE symbol = 'S00004'")]
    assert len(reasons) == 1
    assert reasons[0].endswith(f"its dates look {direction}")
    assert len(shop.server.paths(RANGE)) == {"range": 10, "grouped": 1}[manner]


@pytest.mark.parametrize("manner", ["range", "grouped"])
def test_later_loads_leave_out_what_an_earlier_one_took_back(
    market: Market, with_market: Callable[[Market], Shop], manner: str
) -> None:
    twin = market.bars[market.bars["symbol"] == "S00005"].assign(symbol="TWIN")
    late = market.bars["session"] + pd.Timedelta(days=1)
    off = market.bars.assign(session=late)[market.bars["symbol"] == "S00004"].assign(symbol="WRONG")
    shop = with_market(Market(pd.concat([market.bars, twin, off])))
    shop.sync(first_load=manner)
    assert_same_bars(shop.stored(), served(market))
    shop.now = TUESDAY_NIGHT
    report = shop.sync(first_load=manner)
    assert_same_bars(shop.stored(), served(market, last="2026-11-24"))
    assert report.removed == 0
    # All is asked for anew, and judged anew.
    shop.sync(first_load=manner, force=True)
    assert_same_bars(shop.stored(), served(market, last="2026-11-24"))
    # The vendor mends both.
    mended = market.bars[market.bars["symbol"] == "S00004"].assign(symbol="WRONG")
    other = market.bars[market.bars["symbol"] == "S00006"].assign(symbol="TWIN", volume=lambda bars: bars["volume"] + 100)
    shop.server.market = Market(pd.concat([market.bars, mended.assign(volume=lambda bars: bars["volume"] + 100), other]))
    shop.sync(first_load=manner, force=True)
    assert_same_bars(shop.stored(), served(shop.server.market, last="2026-11-24"))


def test_a_symbol_that_does_not_trade_on_fridays_keeps_its_bars(market: Market, with_market: Callable[[Market], Shop]) -> None:
    friday = (market.bars["symbol"] == "S00004") & (market.bars["session"].dt.weekday == 4)
    shop = with_market(Market(market.bars[~friday]))
    shop.sync(first_load="grouped")
    assert_same_bars(shop.stored(), served(Market(market.bars[~friday])))


def test_a_company_under_two_tickers_is_loaded_once(
    market: Market, with_market: Callable[[Market], Shop], tmp_path: Path
) -> None:
    twin = market.bars[market.bars["symbol"] == "S00004"].assign(symbol="TWIN")
    shop = with_market(Market(pd.concat([market.bars, twin])))
    report = shop.sync()
    assert_same_bars(shop.stored(), served(market))
    assert "224 bars of TWIN left out, since S00004 has the very same" in report.notes
    assert shop.rows("SELECT symbol, reason FROM bar_refusals") == [("TWIN", "the same bars as S00004, which keeps them")]
    listed = tmp_path / "mine.csv"
    listed.write_text("symbol\nS00004\nTWIN\n")
    shop.home = tmp_path / "other"
    shop.sync(candidates=listed)
    assert shop.rows("SELECT symbol, count(*) FROM daily_bars GROUP BY ALL ORDER BY ALL") == [("S00004", 224), ("TWIN", 224)]
