"""Candidates, splits and options: whose bars are loaded, and what goes with them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from kobe_resources.errors import KobeError
from kobe_resources.market_data.polygon.errors import PolygonEntitlementError
from tests.resources.market_data.polygon.conftest import FRIDAY_NIGHT, Shop, assert_same_bars, served
from tests.support.loopback_polygon import Market, ticker_row
from tests.support.loopback_polygon import faults as fault
from tests.support.loopback_polygon.market import dividend_row

pytestmark = pytest.mark.usefixtures("warehouses_stay_open")

RANGE, OPTIONS = "/range/", "/options/contracts"
MONDAY_NIGHT = FRIDAY_NIGHT + dt.timedelta(days=3)


def splits_of(*rows: tuple[str, str, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["symbol", "execution_date", "split_from", "split_to"])


def test_candidates_of_a_file_are_the_only_ones_loaded(shop: Shop, market: Market, tmp_path: Path) -> None:
    file = tmp_path / "candidates.csv"
    file.write_text("symbol,name,has_options\nS00007,Seven,true\n S00002 ,Two,no\nS00007,again,\n\n", encoding="utf-8")
    for manner in ("range", "grouped"):
        shop.sync(candidates=str(file), first_load=manner, options=True)
        stored = shop.stored()
        assert set(stored["symbol"]) == {"S00002", "S00007"}
    assert shop.rows("SELECT symbol, name, active FROM candidates") == [("S00002", "Two", True), ("S00007", "Seven", True)]
    assert shop.rows("SELECT symbol, has_options FROM option_evidence ORDER BY 1") == [("S00002", False), ("S00007", True)]
    assert shop.server.paths("/reference/tickers|/options/") == []
    assert_same_bars(stored, served(market)[lambda bars: bars["symbol"].isin(["S00002", "S00007"])].reset_index(drop=True))


def test_a_symbol_added_to_the_file_is_one_call(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "candidates.csv"
    file.write_text("symbol\nS00001\nS00002\n", encoding="utf-8")
    shop.sync(candidates=str(file))
    shop.server.forget()
    file.write_text("symbol\nS00001\nS00002\nS00009\n", encoding="utf-8")
    shop.sync(candidates=str(file))
    assert [path.split("/")[4] for path in shop.server.paths(RANGE)] == ["S00009"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("ticker\nA\n", "no column `symbol`"),
        ("symbol,symbol\nA,B\n", "no column `symbol`, or two"),
        ("symbol\n", "names no symbol"),
        ("symbol\nA\x07\n", "which is no ticker"),
        ("symbol,has_options\nA,true\nB,maybe\n", "line 3: has_options is 'maybe'"),
        ("symbol,active\nA,0\nB,-\n", "line 3: active is '-'"),
        ("symbol\nA\nB,C,D\n", "line 3: has 3 cells where the header has 1"),
        ('symbol,name\nA,"open\n', "cannot be read"),
        ("", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_candidates_file_that_makes_no_sense_is_refused(shop: Shop, tmp_path: Path, text: str | None, what: str) -> None:
    file = tmp_path / "candidates.csv"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(KobeError, match=what) as caught:
        shop.sync(candidates=str(file))
    assert caught.value.hint
    assert shop.server.calls == []


def test_tickers_that_look_like_words_for_nothing_are_tickers(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "candidates.csv"
    file.write_text("symbol\nNA\nNULL\nTRUE\nNAN\nS00001\n", encoding="utf-8")
    shop.sync(candidates=str(file))
    assert [row[0] for row in shop.rows("SELECT symbol FROM candidates ORDER BY 1")] == ["NA", "NAN", "NULL", "S00001", "TRUE"]


def test_cells_that_end_early_and_a_header_in_capitals_do_not_matter(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "candidates.csv"
    file.write_bytes("\ufeffSymbol, Has_Options\r\nS00001\r\nS00002,Yes\r\nS00003,\r\n".encode())
    shop.sync(candidates=str(file))
    assert shop.rows("SELECT symbol FROM candidates ORDER BY 1") == [("S00001",), ("S00002",), ("S00003",)]
    assert shop.rows("SELECT symbol, has_options FROM option_evidence") == [("S00002", True)]


@pytest.mark.parametrize("setting", [{"first_load": "grouped"}, {"membership": "point_in_time"}])
def test_the_vendor_s_list_is_common_stock_and_where_they_count_the_delisted_too(
    shop: Shop, market: Market, setting: dict[str, str]
) -> None:
    market.tickers = [
        *[ticker_row(symbol) for symbol in ("S00000", "S00001")],
        ticker_row("S00002", kind="ETF"),
        ticker_row("S00003", active=False),
    ]
    shop.sync()
    assert {row[0] for row in shop.rows("SELECT DISTINCT symbol FROM daily_bars")} == {"S00000", "S00001"}
    shop.sync(**setting)
    assert shop.rows("SELECT symbol, type, active FROM candidates ORDER BY 1") == [
        ("S00000", "CS", True),
        ("S00001", "CS", True),
        ("S00003", "CS", False),
    ]
    assert {row[0] for row in shop.rows("SELECT DISTINCT symbol FROM daily_bars")} == {"S00000", "S00001", "S00003"}


def test_the_vendor_s_list_is_read_again_after_a_month(shop: Shop, market: Market) -> None:
    shop.now -= dt.timedelta(days=40)
    market.tickers = [ticker_row("S00001")]
    shop.sync()
    market.tickers = [ticker_row("S00001"), ticker_row("S00002")]
    shop.now = FRIDAY_NIGHT
    shop.sync()
    assert_same_bars(
        shop.stored(), served(market)[lambda bars: bars["symbol"].isin(["S00001", "S00002"])].reset_index(drop=True)
    )


def test_splits_are_stored_once_for_the_candidates_future_ones_too(
    market: Market, with_market: Callable[[Market], Shop]
) -> None:
    rows = [
        ("S00001", "2026-03-02", 1.0, 4.0),
        ("S00001", "2026-03-02", 1.0, 4.0),
        ("S00002", "2026-12-10", 10.0, 1.0),
        ("OTHER", "2026-05-05", 1.0, 2.0),
        ("S00003", "2025-01-02", 1.0, 3.0),
    ]
    shop = with_market(Market(market.bars, splits_of(*rows)))
    shop.sync()
    assert shop.rows("SELECT symbol, execution_date, split_from, split_to, source FROM splits ORDER BY 1") == [
        ("S00001", dt.date(2026, 3, 2), 1.0, 4.0, "polygon"),
        ("S00002", dt.date(2026, 12, 10), 10.0, 1.0, "polygon"),
    ]


def test_more_splits_than_a_page_holds_are_all_stored(market: Market, with_market: Callable[[Market], Shop]) -> None:
    days = pd.date_range("2026-01-05", periods=150).strftime("%Y-%m-%d")
    shop = with_market(
        Market(market.bars, splits_of(*[(f"S0000{number}", day, 1.0, 2.0) for number in range(10) for day in days]))
    )
    shop.sync()
    assert shop.rows("SELECT count(*) FROM splits") == [(1500,)]


def test_a_split_announced_since_comes_with_the_top_up_and_one_withdrawn_goes(
    market: Market, with_market: Callable[[Market], Shop]
) -> None:
    shop = with_market(Market(market.bars, splits_of(("S00001", "2026-03-02", 1, 4), ("S00002", "2026-11-24", 1, 3))))
    shop.sync()
    shop.server.market = Market(market.bars, splits_of(("S00005", "2026-11-23", 1, 2)))
    shop.now = MONDAY_NIGHT
    shop.sync()
    assert shop.rows("SELECT symbol, execution_date FROM splits ORDER BY 1") == [
        ("S00001", dt.date(2026, 3, 2)),
        ("S00005", dt.date(2026, 11, 23)),
    ]


def test_after_a_month_away_the_splits_in_between_are_not_missed(market: Market, with_market: Callable[[Market], Shop]) -> None:
    shop = with_market(Market(market.bars))
    shop.now -= dt.timedelta(days=60)
    shop.sync(candidates=None)
    shop.server.market = Market(market.bars, splits_of(("S00001", "2026-10-05", 1, 2)))
    shop.now = FRIDAY_NIGHT
    shop.sync()
    assert shop.rows("SELECT symbol, execution_date FROM splits") == [("S00001", dt.date(2026, 10, 5))]


def test_a_new_candidate_brings_its_old_splits(shop: Shop, market: Market, tmp_path: Path) -> None:
    shop.server.market = Market(market.bars, splits_of(("S00009", "2026-02-03", 1, 2)))
    file = tmp_path / "candidates.csv"
    file.write_text("symbol\nS00001\n", encoding="utf-8")
    shop.sync(candidates=str(file))
    assert shop.rows("SELECT count(*) FROM splits") == [(0,)]
    file.write_text("symbol\nS00001\nS00009\n", encoding="utf-8")
    shop.sync(candidates=str(file))
    assert shop.rows("SELECT symbol FROM splits") == [("S00009",)]


def test_who_left_the_list_keeps_the_splits_of_the_bars_that_stay(
    market: Market, with_market: Callable[[Market], Shop]
) -> None:
    shop = with_market(Market(market.bars, splits_of(("S00001", "2026-05-05", 1, 2), ("S00002", "2026-05-05", 1, 2))))
    shop.now -= dt.timedelta(days=40)
    shop.sync()
    shop.server.market.tickers = [ticker_row(symbol) for symbol in market.symbols if symbol != "S00001"]
    shop.now = FRIDAY_NIGHT
    shop.sync()
    assert ("S00001",) not in shop.rows("SELECT symbol FROM candidates")
    assert shop.rows("SELECT symbol FROM splits ORDER BY 1") == [("S00001",), ("S00002",)]


def test_that_a_symbol_has_no_options_is_believed_when_said_twice(shop: Shop) -> None:
    shop.server.faults.on(fault.saying(results=[]), path=OPTIONS + ".*S00003", times=1)
    shop.sync(options=True)
    assert shop.rows("SELECT count(*) FROM option_evidence WHERE has_options") == [(10,)]


def test_options_are_asked_once_a_symbol_and_only_where_required(shop: Shop, market: Market) -> None:
    market.optionable = {"S00001", "S00002"}
    shop.sync(options=False)
    assert shop.server.paths(OPTIONS) == []
    shop.sync(options=True)
    assert len(shop.server.paths(OPTIONS)) == 2 + 2 * 8
    assert shop.rows("SELECT symbol FROM option_evidence WHERE has_options ORDER BY 1") == [("S00001",), ("S00002",)]
    shop.now = MONDAY_NIGHT
    shop.sync(options=True)
    assert len(shop.server.paths(OPTIONS)) == 2 + 2 * 8


def test_of_a_plan_without_the_options_reference_the_error_says_what_to_set(shop: Shop, market: Market) -> None:
    shop.server.faults.on(fault.refused(403), path=OPTIONS)
    with pytest.raises(PolygonEntitlementError, match=r"universe\.require_options = false"):
        shop.sync(options=True)
    assert_same_bars(shop.stored(), served(market))
    assert not shop.sync(options=False).skipped


PAID = [
    dividend_row("S00001", "2026-02-05", 0.22),
    dividend_row("S00001", "2026-02-05", 0.22, id="again"),
    dividend_row("S00001", "2026-02-05", 5.0, "SC"),
    dividend_row("S00002", "2026-03-05", 0.1, currency="CAD"),
    dividend_row("S00003", "2025-12-05", 0.1),
    dividend_row("S00001", "2026-03-05", 5e6),
    dividend_row("S00004", "2026-12-10", 0.3, pay_date=None),
    dividend_row("S00005", "2026-05-05", -1.0),
    dividend_row("NOBODY", "2026-05-05", 1.0),
    *[dividend_row("S00006", "2026-06-01", 0.5 + number / 10_000) for number in range(1200)],
]


@pytest.mark.parametrize("moved", [False, True])
def test_dividends_of_all_pages_are_kept_raw_once_and_in_dollars(
    shop: Shop, market: Market, with_market: Callable[[Market], Shop], moved: bool
) -> None:
    shop = with_market(Market(market.bars, splits_of(("S00001", "2026-03-02", 1, 2)), dividends=PAID))
    shop.server.moved = moved
    report = shop.sync()
    assert "1 dividends in CAD left out" in report.notes
    assert shop.rows("SELECT count(*) FROM dividends WHERE symbol = 'S00006'") == [(1200,)]
    assert shop.rows(
        "SELECT symbol, ex_date::VARCHAR, amount, kind, pay_date::VARCHAR FROM dividends WHERE symbol <> 'S00006' ORDER BY ALL"
    ) == [
        ("S00001", "2026-02-05", 0.22, "regular", "2026-02-05"),
        ("S00001", "2026-02-05", 5.0, "special", "2026-02-05"),
        ("S00004", "2026-12-10", 0.3, "regular", None),
    ]
    assert shop.rows("SELECT symbol, split_part(reason, ',', 1) FROM bar_refusals WHERE symbol <> '' ORDER BY symbol") == [
        ("S00001", "dividend: 5e+06 is more than the share itself"),
        ("S00005", "dividend: amount is not positive"),
    ]
    assert shop.rows("SELECT count(*) FROM splits") == [(1,)]
    shop.server.market.dividends = [row for row in shop.server.market.dividends if row["ticker"] != "S00004"]
    shop.now += dt.timedelta(days=7)
    shop.sync(end="2026-11-23")
    assert shop.rows("SELECT count(*) FROM dividends WHERE symbol = 'S00004'") == [(0,)]
    assert shop.rows("SELECT count(*) FROM dividends WHERE symbol = 'S00001'") == [(2,)]


@pytest.mark.parametrize("status", [403, 404])
def test_where_the_plan_has_no_dividends_a_note_says_so_and_the_bars_are_loaded(
    shop: Shop, market: Market, status: int
) -> None:
    shop.server.faults.on(fault.refused(status), path="dividends")
    report = shop.sync()
    assert_same_bars(shop.stored(), served(market))
    assert any("no dividends are loaded" in note for note in report.notes)


def test_force_reads_old_splits_and_dividends_again_that_were_put_right(
    market: Market, with_market: Callable[[Market], Shop]
) -> None:
    paid = [dividend_row("S00002", "2026-04-01", 0.05)]
    shop = with_market(Market(market.bars, splits_of(("S00001", "2026-03-02", 1, 4)), dividends=paid))
    shop.sync()
    right = [dividend_row("S00002", "2026-04-01", 0.07)]
    shop.server.market = Market(market.bars, splits_of(("S00001", "2026-03-17", 1, 4)), dividends=right)
    shop.sync(force=True)
    assert shop.rows("SELECT symbol, execution_date FROM splits") == [("S00001", dt.date(2026, 3, 17))]
    assert shop.rows("SELECT symbol, amount FROM dividends") == [("S00002", 0.07)]


def test_spellings_of_a_candidates_file_are_the_vendor_s_and_who_has_no_bars_is_named(
    market: Market, with_market: Callable[[Market], Shop], tmp_path: Path
) -> None:
    names = {"S00000": "AAPL", "S00001": "BRK.B", "S00002": "ABRpD"}
    bars = market.bars[market.bars["symbol"].isin(names)]
    shop = with_market(Market(bars.assign(symbol=bars["symbol"].map(names))))
    file = tmp_path / "candidates.csv"
    file.write_text("symbol\naapl\nBRK/B\nABRpD\nGONE\n", encoding="utf-8")
    report = shop.sync(candidates=str(file))
    assert set(shop.stored()["symbol"]) == {"AAPL", "BRK.B", "ABRpD"}
    assert "1 candidates of the file have no bars: GONE" in report.notes
