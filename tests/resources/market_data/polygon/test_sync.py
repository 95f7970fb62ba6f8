"""First load, top-up, resume, change of mind, on real HTTP into a real warehouse: bars equal to the last bit."""

from __future__ import annotations

import datetime as dt
import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pandas as pd
import pytest

from kobe_resources.errors import UsageError
from kobe_resources.market_data import open_vendor
from kobe_resources.market_data.local.sample import SampleVendor
from kobe_resources.market_data.polygon.errors import PolygonAuthError, PolygonError
from kobe_resources.market_data.protocol import MarketDataError, Vendor
from kobe_resources.settings.models import Settings
from kobe_resources.settings.secrets import Secrets
from tests.resources.market_data.polygon.conftest import FRIDAY, FRIDAY_NIGHT, HASTE, Shop, assert_same_bars, days_asked, served
from tests.support.loopback_polygon import Market, Reply, ticker_row
from tests.support.loopback_polygon import faults as fault

pytestmark = pytest.mark.usefixtures("warehouses_stay_open")

RANGE, GROUPED, SPLITS = "/range/", "/grouped/", "/reference/splits"
MONDAY_NIGHT = FRIDAY_NIGHT + dt.timedelta(days=3)
TUESDAY_NIGHT = FRIDAY_NIGHT + dt.timedelta(days=4)


class Watched:
    """A progress that remembers what it was told."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, int, str]] = []
        self.done = 0
        self.notes: list[str] = []

    def start(self, what: str, total: int, unit: str) -> None:
        self.phases.append((what, total, unit))

    def advance(self, count: int = 1, note: str = "") -> None:
        self.done += count
        self.notes.append(note)


def asked_symbols(shop: Shop) -> list[str]:
    return sorted(path.split("/")[4] for path in shop.server.paths(RANGE))


@pytest.mark.parametrize("first_load", ["range", "grouped"])
def test_a_first_load_stores_what_is_served(shop: Shop, market: Market, first_load: str) -> None:
    report = shop.sync(first_load=first_load)
    assert_same_bars(shop.stored(), served(market))
    assert (report.added, report.changed, report.removed, report.revisions) == (len(served(market)), 0, 0, 0)
    assert (report.symbols, report.first_session, report.last_session) == (10, dt.date(2026, 1, 2), FRIDAY)
    assert report.calls == len(shop.server.calls)
    assert shop.rows("SELECT DISTINCT source FROM daily_bars") == [("polygon",)]


def test_a_first_load_by_ranges_asks_for_each_symbol_once(shop: Shop, market: Market) -> None:
    shop.sync()
    paths = shop.server.paths(RANGE)
    assert sorted(paths) == [f"/v2/aggs/ticker/{symbol}/range/1/day/2026-01-02/2026-11-20" for symbol in market.symbols]


def test_a_first_load_by_days_asks_for_each_session_once_and_knows_the_holidays(shop: Shop, market: Market) -> None:
    shop.sync(first_load="grouped")
    assert shop.server.paths(RANGE) == []
    assert days_asked(shop) == sorted({str(day.date()) for day in served(market)["session"]})


def test_a_second_sync_asks_nothing_and_needs_no_key(shop: Shop) -> None:
    shop.sync(options=True)
    shop.server.forget()
    shop.key = None
    report = shop.sync(options=True)
    assert shop.server.calls == []
    assert (report.skipped, report.calls, report.added, report.bars) == (True, 0, 0, 2240)


def test_the_day_after_costs_two_calls_and_the_last_three_sessions_again(shop: Shop, market: Market) -> None:
    shop.sync(options=True)
    shop.server.forget()
    shop.now = MONDAY_NIGHT
    report = shop.sync(options=True)
    assert days_asked(shop) == ["2026-11-18", "2026-11-19", "2026-11-20", "2026-11-23"]
    assert [call.query for call in shop.server.calls if SPLITS in call.path] == [
        "execution_date.lte=2026-12-23&execution_date.gte=2026-11-13&limit=1000&sort=execution_date&order=asc"
    ]
    assert len(shop.server.calls) == report.calls == 5
    assert (report.added, report.unchanged, report.changed) == (10, 30, 0)
    assert_same_bars(shop.stored(), served(market, last="2026-11-23"))


def test_a_late_correction_is_stored_and_what_it_replaced_is_kept(
    shop: Shop, market: Market, with_market: Callable[[Market], Shop]
) -> None:
    shop.sync()
    late = (market.bars["symbol"] == "S00004") & (market.bars["session"] == "2026-11-19")
    old = market.bars.loc[late, "volume"].item()
    restated = Market(market.bars.assign(volume=market.bars["volume"].where(~late, old + 77)))
    again = with_market(restated)
    again.now = MONDAY_NIGHT
    report = again.sync()
    assert (report.changed, report.revisions) == (1, 1)
    revision = "SELECT symbol, session, field, old, new FROM bar_revisions"
    assert again.rows(revision) == [("S00004", dt.date(2026, 11, 19), "volume", old, old + 77)]
    assert_same_bars(again.stored(), served(restated, last="2026-11-23"))


def test_a_field_that_a_later_answer_leaves_out_is_not_restated(
    shop: Shop, market: Market, with_market: Callable[[Market], Shop]
) -> None:
    shop.sync()
    again = with_market(Market(market.bars.drop(columns=["vwap", "trades"])))
    again.now = MONDAY_NIGHT
    report = again.sync()
    assert (report.added, report.unchanged, report.changed, report.revisions) == (10, 30, 0, 0)
    assert again.rows("SELECT DISTINCT session FROM daily_bars WHERE vwap IS NULL AND trades IS NULL") == [
        (dt.date(2026, 11, 23),)
    ]
    assert again.rows("SELECT count(*) FROM daily_bars WHERE vwap IS NULL") == [(10,)]


def test_the_embedded_sample_comes_through_the_vendor_unchanged(with_market: Callable[[Market], Shop]) -> None:
    load = SampleVendor(Settings().data).read()
    shop = with_market(Market(load.bars, load.splits))
    shop.sync(start="2000-01-03", end="2013-12-31")
    with_nothing = served(Market(load.bars.assign(vwap=None, trades=None)), "2000-01-03", "2013-12-31")
    assert_same_bars(shop.stored(), with_nothing)
    wanted = load.splits.assign(execution_date=pd.to_datetime(load.splits["execution_date"]).dt.date)
    columns = ["symbol", "execution_date", "split_from", "split_to"]
    assert set(shop.rows("SELECT symbol, execution_date, split_from, split_to FROM splits")) == set(
        wanted[columns].itertuples(index=False, name=None)
    )


def test_a_week_away_is_caught_up_by_days(shop: Shop, market: Market) -> None:
    shop.now -= dt.timedelta(days=9)
    shop.sync()
    shop.server.forget()
    shop.now = FRIDAY_NIGHT
    shop.sync()
    assert shop.server.paths(RANGE) == []
    assert days_asked(shop)[3:] == [f"2026-11-{day}" for day in (12, 13, 16, 17, 18, 19, 20)]
    assert_same_bars(shop.stored(), served(market))


def test_a_symbol_that_lacks_on_the_new_day_gets_one_range_call_and_then_peace(
    market: Market, with_market: Callable[[Market], Shop]
) -> None:
    gone = (market.bars["symbol"] == "S00003") & (market.bars["session"] >= "2026-11-23")
    shop = with_market(Market(market.bars[~gone]))
    shop.sync()
    shop.server.forget()
    shop.now = MONDAY_NIGHT
    shop.sync()
    assert set(shop.server.paths(RANGE)) == {"/v2/aggs/ticker/S00003/range/1/day/2026-11-21/2026-11-23"}
    shop.server.forget()
    shop.now = TUESDAY_NIGHT
    shop.sync()
    assert shop.server.paths(RANGE) == []
    assert_same_bars(shop.stored(), served(shop.server.market, last="2026-11-24"))


def test_a_symbol_that_a_day_of_the_market_forgot_is_there_all_the_same(shop: Shop, market: Market) -> None:
    shop.sync()
    shop.now = MONDAY_NIGHT
    full = market.grouped_body(dt.date(2026, 11, 23))
    without = Market(market.bars[market.bars["symbol"] != "S00003"]).grouped_body(dt.date(2026, 11, 23))
    shop.server.faults.on(lambda reply, rng: fault.Reply(200, without) if reply.body == full else reply, path="2026-11-23")
    shop.sync()
    assert_same_bars(shop.stored(), served(market, last="2026-11-23"))


def test_a_session_the_vendor_has_not_published_yet_is_left_for_later(
    market: Market, with_market: Callable[[Market], Shop]
) -> None:
    shop = with_market(Market(market.bars[market.bars["session"] <= "2026-11-20"]))
    shop.sync()
    shop.now = MONDAY_NIGHT
    shop.server.forget()
    report = shop.sync()
    assert (report.skipped, report.calls, report.last_session) == (True, 1, FRIDAY)
    shop.server.market = market
    assert shop.sync().last_session == dt.date(2026, 11, 23)
    assert_same_bars(shop.stored(), served(market, last="2026-11-23"))


def test_a_session_still_open_is_not_asked_for(shop: Shop) -> None:
    shop.now = dt.datetime(2026, 11, 20, 20, 0, tzinfo=dt.UTC)
    assert shop.sync().last_session == dt.date(2026, 11, 19)
    assert not [call for call in shop.server.calls if "2026-11-20" in call.path]


def test_an_earlier_start_loads_the_missing_months_only(shop: Shop, market: Market) -> None:
    shop.sync(start="2026-06-01")
    shop.server.forget()
    shop.sync(start="2026-01-02")
    assert set(shop.server.paths(RANGE)) == {
        f"/v2/aggs/ticker/{name}/range/1/day/2026-01-02/2026-05-31" for name in market.symbols
    }
    assert_same_bars(shop.stored(), served(market))


def test_an_earlier_end_claims_nothing_beyond_it_for_symbols_that_are_new(shop: Shop, market: Market, tmp_path: Path) -> None:
    few, every = tmp_path / "few.csv", tmp_path / "every.csv"
    few.write_text("symbol\nS00000\nS00001\n", encoding="utf-8")
    every.write_text("\n".join(["symbol", *market.symbols]), encoding="utf-8")
    shop.sync(candidates=str(few), first_load="grouped", start="2026-06-01")
    shop.sync(candidates=str(every), first_load="grouped", start="2026-06-01", end="2026-06-05")
    shop.sync(candidates=str(every), first_load="grouped", start="2026-06-01")
    assert_same_bars(shop.stored(), served(market, "2026-06-01"))


def test_a_day_of_the_market_that_contradicts_itself_about_others_is_no_hindrance(
    shop: Shop, market: Market, tmp_path: Path
) -> None:
    few = tmp_path / "few.csv"
    few.write_text("symbol\nS00000\nS00001\n", encoding="utf-8")
    other = orjson.loads(market.grouped_body(dt.date(2026, 6, 15)))["results"][7]
    rows = [*orjson.loads(market.grouped_body(dt.date(2026, 6, 15)))["results"], {**other, "v": 1.0}]
    shop.server.faults.on(fault.saying(results=rows, resultsCount=len(rows)), path="2026-06-15")
    shop.sync(candidates=str(few), first_load="grouped")
    assert_same_bars(shop.stored(), served(market)[lambda bars: bars["symbol"] < "S00002"].reset_index(drop=True))
    assert shop.rows("SELECT count(*) FROM set_aside") == [(0,)]


def of_another_day(reply: fault.Reply, rng: random.Random) -> fault.Reply:
    """The honest rows, one of them of 2001."""
    answer = orjson.loads(reply.body)
    answer["results"][3]["t"] = 1_000_000_000_000
    return replace(reply, body=orjson.dumps(answer))


@pytest.mark.parametrize(("broken", "times"), [(fault.contradictory, 2), (of_another_day, HASTE.after_malformed)])
def test_rows_that_cannot_all_be_true_are_asked_for_again(shop: Shop, market: Market, broken: fault.Fault, times: int) -> None:
    shop.server.faults.on(broken, path="S00004", times=times)
    shop.sync()
    assert asked_symbols(shop).count("S00004") == times + 1
    shop.now = MONDAY_NIGHT
    shop.server.faults.on(broken, path=GROUPED, times=times)
    shop.sync()
    assert_same_bars(shop.stored(), served(market, last="2026-11-23"))
    shop.server.faults.on(broken, path=GROUPED)
    with pytest.raises(PolygonError, match=r"other bad rows each time|another day"):
        shop.sync(force=True)


def test_a_bar_that_the_vendor_holds_twice_spoils_itself_alone(shop: Shop, market: Market) -> None:
    def first_row_twice(reply: Reply, rng: random.Random) -> Reply:
        answer = orjson.loads(reply.body)
        answer["results"].append({**answer["results"][0], "c": answer["results"][0]["h"]})
        answer["resultsCount"] = answer["queryCount"] = len(answer["results"])
        return replace(reply, body=orjson.dumps(answer))

    shop.server.faults.on(first_row_twice, path="S00004")
    report = shop.sync()
    whole = served(market)
    lost = whole[(whole["symbol"] == "S00004")].iloc[0]
    kept = whole[(whole["symbol"] != "S00004") | (whole["session"] != lost["session"])].reset_index(drop=True)
    assert_same_bars(shop.stored(), kept)
    aside = "SELECT source, symbol, session, reason, json_array_length(row -> 'close') FROM set_aside"
    assert shop.rows(aside) == [("polygon", "S00004", lost["session"].date(), "two bars of one session that differ", 2)]
    assert "1 bad rows set aside" in report.notes


def test_a_close_outside_its_range_by_rounding_widens_it_and_is_counted(shop: Shop, market: Market) -> None:
    def rounded(reply: Reply, rng: random.Random) -> Reply:
        answer = orjson.loads(reply.body)
        answer["results"][0]["h"] = max(answer["results"][0][key] for key in "oc") * (1 - 5e-7)
        return replace(reply, body=orjson.dumps(answer))

    shop.server.faults.on(rounded, path="S00004")
    assert "1 bars widened to their open or close" in shop.sync().notes
    (first,) = shop.rows("SELECT high - greatest(open, close) FROM daily_bars WHERE symbol = 'S00004' ORDER BY session LIMIT 1")
    assert first == (0.0,)
    assert shop.rows("SELECT count(*) FROM set_aside") == [(0,)]


def test_a_later_end_loads_the_missing_days_only_and_a_narrower_span_nothing(shop: Shop, market: Market) -> None:
    shop.sync(end="2026-11-16")
    shop.server.forget()
    shop.sync()
    assert shop.server.paths(RANGE) == []
    assert days_asked(shop)[-4:] == ["2026-11-17", "2026-11-18", "2026-11-19", "2026-11-20"]
    assert_same_bars(shop.stored(), served(market))
    shop.server.forget()
    shop.sync(start="2026-03-02", end="2026-11-16")
    assert shop.server.paths(RANGE) == []
    assert len(shop.server.calls) <= 5


def test_without_a_start_eleven_years_are_asked_for(shop: Shop) -> None:
    shop.sync(start=None)
    assert shop.server.paths(RANGE)[0].endswith("/2015-11-20/2026-11-20")


def test_a_span_without_sessions_is_refused(shop: Shop) -> None:
    with pytest.raises(UsageError, match="no session"):
        shop.sync(start="2026-11-21")


def test_without_a_key_the_store_keeps_what_it_has(shop: Shop) -> None:
    shop.sync()
    shop.now += dt.timedelta(days=3)
    before = shop.rows("SELECT count(*), max(source) FROM daily_bars")
    shop.key = None
    with pytest.raises(PolygonAuthError, match="sample works without a key"):
        shop.sync()
    shop.key = "wrong-key"
    with pytest.raises(PolygonAuthError, match="does not accept the key"):
        shop.sync()
    assert shop.rows("SELECT count(*), max(source) FROM daily_bars") == before


def test_coming_back_from_another_vendor_starts_afresh(shop: Shop, market: Market, tmp_path: Path) -> None:
    shop.sync()
    SampleVendor(Settings().data).sync(shop.warehouse, force=True)
    assert shop.rows("SELECT count(*) FROM daily_bars WHERE source = 'polygon'") == [(0,)]
    file = tmp_path / "candidates.csv"
    file.write_text("symbol\nS00001\n", encoding="utf-8")
    shop.sync(candidates=str(file), force=True)
    shop.server.forget()
    shop.sync()
    assert len(shop.server.paths(RANGE)) == 9
    assert_same_bars(shop.stored(), served(market))
    assert shop.rows("SELECT count(*) FROM bar_revisions") == [(0,)]


def test_two_loads_at_once_are_one_too_many(shop: Shop) -> None:
    shop.server.faults.on(fault.slow(0.15), path=RANGE)
    first = threading.Thread(target=shop.sync)
    first.start()
    while not shop.server.paths(RANGE):
        time.sleep(0.01)
    with pytest.raises(MarketDataError, match="another process is loading"):
        shop.sync()
    first.join()
    assert shop.sync().skipped


def test_progress_counts_what_is_durable_and_tells_the_time_at_the_plan_s_rate(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched()
    shop.sync(progress=watched, options=True)
    assert [(total, unit) for _, total, unit in watched.phases] == [(10, "symbols"), (10, "symbols")]
    assert watched.done == 20
    assert watched.notes[-1] == "done"
    slow = Watched()
    monkeypatch.setattr("kobe_resources.market_data.polygon.client.TokenBucket.take", lambda self: None, raising=False)
    shop.now = MONDAY_NIGHT
    shop.sync(progress=slow, calls_per_minute=0.5)
    assert slow.phases == [("4 days of the market, about 8 min at 0.5 calls a minute", 4, "days")]


def test_force_reads_the_last_sessions_again_and_mends_a_bar_stored_twice(shop: Shop, market: Market) -> None:
    shop.sync()
    with shop.warehouse.transaction() as connection:
        connection.execute("INSERT INTO daily_bars SELECT * FROM daily_bars WHERE session = '2026-05-05'")
    shop.server.forget()
    report = shop.sync(force=True)
    assert (report.skipped, len(shop.server.paths(GROUPED)), len(shop.server.paths(RANGE))) == (False, 3, 0)
    assert_same_bars(shop.stored(), served(market))


@pytest.mark.parametrize("manner", ["range", "grouped"])
def test_force_asks_again_for_symbols_with_gaps_and_sessions_without_a_bar(shop: Shop, market: Market, manner: str) -> None:
    shop.sync(first_load=manner)
    with shop.warehouse.transaction() as connection:
        connection.execute(
            "DELETE FROM daily_bars WHERE symbol = 'S00001' OR (symbol = 'S00002' AND session = '2026-05-05') "
            "OR (symbol = 'S00003' AND session > '2026-10-01') OR session IN ('2026-06-15', '2026-11-20')"
        )
    assert shop.sync(first_load=manner).skipped
    shop.server.forget()
    watched = Watched()
    shop.sync(progress=watched, force=True, first_load=manner)
    assert_same_bars(shop.stored(), served(market))
    assert asked_symbols(shop) == ["S00001", "S00002", "S00003"]
    assert days_asked(shop) == ["2026-06-15", "2026-11-18", "2026-11-19", "2026-11-20"]
    assert [phase[0] for phase in watched.phases] == ["3 symbols, no rate limit", "4 days of the market, no rate limit"]


def test_force_mends_a_symbol_that_came_back_empty_though_it_has_bars(shop: Shop, market: Market) -> None:
    shop.server.faults.on(fault.false_empty, path="S00004", times=2)
    shop.sync()
    assert "S00004" not in set(shop.stored()["symbol"])
    shop.sync(force=True)
    assert_same_bars(shop.stored(), served(market))


def test_force_leaves_alone_who_was_listed_late_or_is_delisted(market: Market, with_market: Callable[[Market], Shop]) -> None:
    late = (market.bars["symbol"] == "S00001") & (market.bars["session"] < "2026-06-01")
    gone = (market.bars["symbol"] == "S00002") & (market.bars["session"] > "2026-06-01")
    shop = with_market(Market(market.bars[~late & ~gone]))
    shop.server.market.tickers = [ticker_row(symbol, active=symbol != "S00002") for symbol in market.symbols]
    shop.sync(first_load="grouped")
    shop.server.forget()
    shop.sync(force=True, first_load="grouped")
    assert asked_symbols(shop) == []


def test_the_fingerprint_tells_sources_apart_and_knows_the_vendor_s_two_names(shop: Shop, tmp_path: Path) -> None:
    def fingerprint(**changes: object) -> str:
        return open_vendor(shop.settings(**changes), Secrets()).fingerprint()  # type: ignore[arg-type]

    file = tmp_path / "candidates.csv"
    file.write_text("symbol\nA\n", encoding="utf-8")
    one = fingerprint(candidates=str(file))
    file.write_text("symbol\nB\n", encoding="utf-8")
    prints = [
        one,
        fingerprint(candidates=str(file)),
        fingerprint(),
        fingerprint(start="2026-02-02"),
        fingerprint(first_load="grouped"),
    ]
    assert len(set(prints)) == len(prints)
    assert fingerprint(base_url="https://api.polygon.io") == fingerprint(base_url="https://api.massive.com/")
    assert fingerprint(calls_per_minute=7, in_flight=3) == fingerprint()
    with pytest.raises(MarketDataError, match="cannot be read"):
        fingerprint(candidates=str(tmp_path / "none.csv"))


def test_the_vendor_keeps_the_protocol(shop: Shop) -> None:
    vendor: Vendor = open_vendor(shop.settings(), Secrets(polygon_api_key="k"))  # type: ignore[arg-type]
    assert vendor.name == "polygon"
    assert "k" not in repr(vendor.__dict__).replace("'_key'", "").split("SecretStr")[-1]
