"""Own bars come in exactly, a bad row costs itself or its symbol, and what a file holds else is data."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kobe_resources.market_data import MarketDataError
from kobe_resources.market_data.set_aside import ALONE, judge_bars
from kobe_resources.market_data.symbols import identity, wrong_symbol
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders import frames
from tests.support.builders.bar_files import (
    DAY1,
    DAY2,
    GOOD,
    HEADER,
    NEXT,
    SPLITS_HEADER,
    parquet_row,
    vendor,
    write,
    write_parquet,
)

pytestmark = pytest.mark.usefixtures("warehouses_stay_open")


def test_tickers_in_small_letters_are_read_in_capitals_everywhere(warehouse: Warehouse, tmp_path: Path) -> None:
    small = [line.replace("A,", "alfa,") for line in (GOOD, NEXT)]
    also = {"candidates": "symbol\nalfa\n", "splits": SPLITS_HEADER + "alfa,2020-01-03,1,2\n"}
    vendor(write(tmp_path / "c", HEADER, *small, NEXT.replace("A,", "BACpL,"), **also)).sync(warehouse)
    assert warehouse.rows("SELECT DISTINCT symbol FROM daily_bars ORDER BY symbol") == [("ALFA",), ("BACpL",)]
    assert warehouse.rows("SELECT symbol FROM candidates") == warehouse.rows("SELECT symbol FROM splits") == [("ALFA",)]
    assert ("alfa is read as ALFA",) in warehouse.rows("SELECT reason FROM set_aside")


def test_the_same_moving_prices_are_one_company_whatever_the_volume(warehouse: Warehouse, tmp_path: Path) -> None:
    rows = [
        f"{name},{day},10,{12 + n},9,{10 + n},{k}" for k, name in enumerate("AB", 5) for n, day in enumerate(frames.days(60))
    ]
    flat = [f"{name},{day},10,11,9,10,{k}" for k, name in enumerate("CD", 5) for day in frames.days(60)]
    vendor(write(tmp_path / "v", HEADER, *rows, *flat)).sync(warehouse)
    assert warehouse.rows("SELECT DISTINCT symbol FROM daily_bars ORDER BY symbol") == [("A",), ("C",), ("D",)]


def test_a_row_of_too_many_or_too_few_cells_costs_itself(warehouse: Warehouse, tmp_path: Path) -> None:
    days = frames.days(300)
    rows = [f"A,{day},10,11,9,10.5,1000" for day in days]
    rows[7], rows[290] = rows[7].removesuffix("1000") + "1,234,567", "A," + str(days[290])
    rows[291] = rows[291].replace(",9,", ",-9,")
    vendor(write(tmp_path / "torn", HEADER, *rows)).sync(warehouse)
    assert warehouse.rows("SELECT count(*) FROM daily_bars") == [(297,)]
    assert warehouse.rows("SELECT line, symbol, session, reason FROM set_aside ORDER BY line") == [
        (9, "A", days[7], "bars.csv: has 9 cells where the header has 7"),
        (292, "A", days[290], "bars.csv: has 2 cells where the header has 7"),
        (293, "A", days[291], "bars.csv: low is -9, which is not positive"),
    ]


def test_a_bad_row_spoils_one_row_and_is_kept_with_its_line_and_reason(warehouse: Warehouse, tmp_path: Path) -> None:
    good = [f"A,{day},10,11,9,10.5,{1000 + n}" for n, day in enumerate(frames.days(300))]
    again, empty = good[50], f"B,{DAY1},,11,9,10,1"
    rough = f"B,{DAY2},10,10.5,9,{10.5 * (1 + 1e-9)!r},1"
    folder = write(tmp_path / "one", HEADER, *good[:100], again, *good[100:], empty, rough)
    report = vendor(folder).sync(warehouse)
    assert (report.bars, report.added) == (301, 301)
    rows = warehouse.rows("SELECT symbol, session, reason, line, row->>'volume' FROM set_aside ORDER BY line")
    day = frames.days(51)[50]
    assert rows == [
        ("A", day, f"bars.csv: 'A {day}' was already given in line 52; counted once", 102, "1050"),
        ("B", DAY1, "bars.csv: open is empty", 303, "1"),
    ]
    assert warehouse.rows("SELECT high = close FROM daily_bars WHERE symbol = 'B'") == [(True,)]


def test_of_two_rows_of_one_session_the_one_without_prices_goes(warehouse: Warehouse, tmp_path: Path) -> None:
    good = [f"A,{day},10,11,9,10.5,{1000 + n}" for n, day in enumerate(frames.days(300))]
    vendor(write(tmp_path / "two", HEADER, *good, f"A,{DAY1},,,,,")).sync(warehouse)
    assert warehouse.rows("SELECT count(*) FROM daily_bars") == [(300,)]
    assert warehouse.rows("SELECT session, line FROM set_aside") == [(DAY1, 302)]


def test_rows_outside_the_span_stop_nothing(warehouse: Warehouse, tmp_path: Path) -> None:
    folder = write(tmp_path / "span", HEADER, "A,2019-12-31,-5,11,9,10,1e99", GOOD)
    assert vendor(folder, start=DAY1).sync(warehouse).bars == 1
    assert warehouse.rows("SELECT count(*) FROM set_aside") == [(0,)]


def test_days_without_a_session_and_bars_without_volume_are_set_aside(warehouse: Warehouse, tmp_path: Path) -> None:
    rows = [f"A,{day},10,11,9,10.5,{0 if n == 7 else 1000}" for n, day in enumerate(frames.days(300))]
    index = [f"IX,{day},10,11,9,10.5,0" for day in frames.days(300)]
    stray = ["A,2020-01-04,10,11,9,10.5,1", "A,2199-01-02,10,11,9,10,1"]
    vendor(write(tmp_path / "s", HEADER, *rows, *index, *stray)).sync(warehouse)
    assert warehouse.rows("SELECT symbol, count(*) FROM daily_bars GROUP BY ALL ORDER BY ALL") == [("A", 299), ("IX", 300)]
    assert warehouse.rows("SELECT session, reason FROM set_aside ORDER BY ALL") == [
        (dt.date(2020, 1, 4), "no session of the exchange"),
        (frames.days(8)[7], "nobody traded (volume 0)"),
        (dt.date(2199, 1, 2), "the session was not over"),
    ]


@pytest.mark.parametrize("stray", ["1900-01-01", "1920-05-02", "1940-01-02"])
def test_a_day_alone_before_the_calendar_begins_is_set_aside_and_a_run_of_them_is_not(
    warehouse: Warehouse, tmp_path: Path, stray: str
) -> None:
    rows = [f"A,{day},10,11,9,10.5,{n + 1}" for n, day in enumerate(frames.days(60))]
    vendor(write(tmp_path / "s", HEADER, *rows, f"A,{stray},10,11,9,10.5,7")).sync(warehouse)
    assert warehouse.rows("SELECT min(session)::VARCHAR, count(*) FROM daily_bars") == [("2020-01-02", 60)]
    assert warehouse.rows("SELECT session::VARCHAR, reason FROM set_aside") == [(stray, "no session of the exchange")]
    old = [f"A,1928-03-{day:02d},10,11,9,10.5,{day}" for day in range(5, 10)]
    assert vendor(write(tmp_path / "s", HEADER, *rows, *old)).sync(warehouse).bars == 65


def test_bars_in_another_currency_are_set_aside_and_dollars_are_not(warehouse: Warehouse, tmp_path: Path) -> None:
    words = ["USD", "us$", "$", "", *["usd"] * 120]
    rows = [f"A,{day},10,11,9,10.5,{n + 1},{word}" for n, (day, word) in enumerate(zip(frames.days(124), words, strict=True))]
    vendor(write(tmp_path / "s", HEADER + ",currency", *rows, "B,2020-01-02,10,11,9,10.5,7,EUR")).sync(warehouse)
    assert warehouse.rows("SELECT symbol, count(*) FROM daily_bars GROUP BY symbol") == [("A", 124)]
    assert warehouse.rows("SELECT symbol, reason FROM set_aside") == [
        ("B", "bars.csv: the prices are in 'EUR', not in dollars")
    ]


@pytest.mark.parametrize("stray", ["1970-01-02", "2012-03-12", "2024-06-03"])
def test_a_bar_alone_on_its_day_and_around_it_makes_no_session_for_the_others(
    warehouse: Warehouse, tmp_path: Path, stray: str
) -> None:
    rows = [f"{symbol},{day},{n},{n + 2},{n},{n + 1},5" for n, symbol in enumerate("ABC", 9) for day in frames.days(60)]
    vendor(write(tmp_path / "s", HEADER, *rows, f"B,{stray},10,11,9,10.5,7")).sync(warehouse)
    assert warehouse.rows("SELECT min(session)::VARCHAR, count(DISTINCT session) FROM daily_bars") == [("2020-01-02", 60)]
    assert warehouse.rows("SELECT symbol, session::VARCHAR, reason FROM set_aside") == [("B", stray, ALONE)]
    both = [f"{symbol},{stray},10,11,9,10.5,7" for symbol in "AB"]
    assert vendor(write(tmp_path / "s", HEADER, *rows, *both)).sync(warehouse).bars == 182
    of_two = [row for row in rows if not row.startswith("C")]
    assert vendor(write(tmp_path / "s", HEADER, *of_two, f"B,{stray},10,11,9,10.5,7")).sync(warehouse, force=True).bars == 121


def test_the_newest_bar_after_a_pause_and_bars_of_months_are_not_taken_for_slips_of_the_year() -> None:
    now = dt.datetime(2020, 8, 20, 22, tzinfo=dt.UTC)

    def reasons(days: list[dt.date], newest: dt.date) -> list[str]:
        rows = [(symbol, pd.Timestamp(day), 5.0) for symbol in "ABC" for day in days] + [("A", pd.Timestamp(newest), 5.0)]
        frame = pd.DataFrame(rows, columns=["symbol", "session", "volume"])
        return list(judge_bars(frame, now, whole=True).aside["reason"])

    daily = frames.days(60)
    assert reasons(daily, dt.date(2020, 8, 19)) == []
    assert reasons(daily, dt.date(2020, 7, 2)) == [ALONE]
    assert reasons([dt.date(2019, month, 2) for month in (1, 4, 5, 7, 10)], dt.date(2020, 2, 3)) == []


def test_a_day_that_half_of_ten_symbols_traded_is_the_calendars_error(warehouse: Warehouse, tmp_path: Path) -> None:
    days = {k: [*frames.days(60), *([dt.date(2020, 1, 4)] if k < 10 else [])] for k in range(20)}
    rows = [f"S{k},{day},10,11,9,10.5,{k + 1}" for k, own in days.items() for day in own]
    vendor(write(tmp_path / "c", HEADER, *rows)).sync(warehouse)
    assert warehouse.rows("SELECT count(*) FROM daily_bars WHERE session = '2020-01-04'") == [(10,)]


def test_dates_a_day_early_are_refused_with_the_reason(warehouse: Warehouse, tmp_path: Path) -> None:
    early = [f"E,{day - dt.timedelta(days=1)},10,11,9,10.5,1" for day in frames.days(300)]
    sound = [f"S{k},{day},10,11,9,10.5,{k + 1}" for k in range(12) for day in frames.days(300)]
    vendor(write(tmp_path / "one", HEADER, *sound, *early)).sync(warehouse)
    assert warehouse.rows("SELECT count(*) FROM daily_bars WHERE symbol = 'E'") == [(0,)]
    assert "dates look a day early" in warehouse.rows("SELECT reason FROM set_aside LIMIT 1")[0][0]
    with pytest.raises(MarketDataError, match=r"were no session, as that of E on .*: see whether the dates are a day early"):
        vendor(write(tmp_path / "all", HEADER, *early)).sync(warehouse)


def test_dates_of_many_symbols_a_day_early_are_no_errors_of_the_calendar(warehouse: Warehouse, tmp_path: Path) -> None:
    days = [day - dt.timedelta(days=1) for day in frames.days(120)]
    early = [f"S{k},{day},10,11,9,10.5,{k + 1}" for k in range(12) for day in days]
    with pytest.raises(MarketDataError, match=r"were no session, as that of S0 on .*: see whether the dates are a day early"):
        vendor(write(tmp_path / "early", HEADER, *early)).sync(warehouse)


def test_holidays_that_a_program_filled_in_are_set_aside_and_refuse_nothing(warehouse: Warehouse, tmp_path: Path) -> None:
    closes = {day: f"10,11,9,10.5,{n + 1}" for n, day in enumerate(frames.days(500))}
    weekdays = [stamp.date() for stamp in pd.bdate_range(min(closes), max(closes))]
    told = {day: closes[max(one for one in closes if one <= day)] for day in weekdays}
    report = vendor(write(tmp_path / "f", HEADER, *[f"A,{day},{rest}" for day, rest in told.items()])).sync(warehouse)
    assert (report.bars, len(told) - report.bars > 0.02 * len(told)) == (500, True)
    assert warehouse.rows("SELECT DISTINCT reason FROM set_aside") == [("no session of the exchange",)]
    traded = [f"A,{day},10,11,9,10.5,{n + 1}" for n, day in enumerate(weekdays)]
    with pytest.raises(MarketDataError, match="were no session, as that of A on 2020-01-20, a Monday"):
        vendor(write(tmp_path / "t", HEADER, *traded)).sync(warehouse)


def test_weekly_bars_of_saturdays_are_said_to_be_weekly(warehouse: Warehouse, tmp_path: Path) -> None:
    weeks = [dt.date(2019, 1, 5) + dt.timedelta(days=7 * n) for n in range(40)]
    rows = [f"S{k},{day},10,11,9,10.5,{k + 1}" for k in range(3) for day in weeks]
    with pytest.raises(MarketDataError, match="a Saturday, 7 days apart: these are weekly or monthly bars, not daily"):
        vendor(write(tmp_path / "w", HEADER, *rows)).sync(warehouse)


def test_weekly_bars_of_other_days_are_said_to_be_weekly(warehouse: Warehouse, tmp_path: Path) -> None:
    # Mondays, of which holidays are no sessions; and of one symbol beside daily ones, Sundays.
    weeks = [dt.date(2019, 1, 6) + dt.timedelta(days=7 * n) for n in range(100)]
    mondays = [f"S{k},{day + dt.timedelta(days=1)},10,11,9,10.5,{k + 1}" for k in range(3) for day in weeks]
    with pytest.raises(MarketDataError, match="a Monday, 7 days apart: these are weekly or monthly bars, not daily"):
        vendor(write(tmp_path / "w", HEADER, *mondays)).sync(warehouse)
    sound = [f"S{k},{day},10,11,9,10.5,{k + 1}" for k in range(12) for day in frames.days(500)]
    vendor(write(tmp_path / "one", HEADER, *sound, *[f"W,{day},10,11,9,10.5,7" for day in weeks])).sync(warehouse)
    assert "they lie 7 days apart, weekly or monthly bars" in warehouse.rows("SELECT reason FROM set_aside LIMIT 1")[0][0]


def test_a_stock_that_is_a_day_early_in_winter_is_named(warehouse: Warehouse, tmp_path: Path) -> None:
    days = frames.days(500)
    moved = [day - dt.timedelta(days=1) if day.month in (11, 12, 1, 2) else day for day in days]
    early = [f"E,{day},10,11,9,10.5,50" for day in dict.fromkeys(moved)]
    sound = [f"S{k},{day},10,11,9,10.5,{k + 1}" for k in range(12) for day in days]
    vendor(write(tmp_path / "one", HEADER, *sound, *early)).sync(warehouse)
    assert warehouse.rows("SELECT count(*) FROM daily_bars WHERE symbol = 'E'")[0][0] > 400
    assert {row[0] for row in warehouse.rows("SELECT reason FROM set_aside")} == {
        "no session of the exchange; E: dates look a day early in part"
    }


def test_a_stock_that_is_a_day_early_at_the_end_is_named(warehouse: Warehouse, tmp_path: Path) -> None:
    days = frames.days(300)
    early = [f"E,{day - dt.timedelta(days=day > days[-30])},10,11,9,10.5,50" for day in days[:-30] + days[-29:]]
    sound = [f"S{k},{day},10,11,9,10.5,{k + 1}" for k in range(12) for day in days]
    vendor(write(tmp_path / "one", HEADER, *sound, *early)).sync(warehouse)
    reason = "no session of the exchange; E: dates look a day early in part"
    assert warehouse.rows("SELECT DISTINCT reason FROM set_aside") == [(reason,)]


def test_one_company_under_two_names_is_loaded_once(warehouse: Warehouse, tmp_path: Path) -> None:
    rows = [f"{name},{day},10,11,9,10.5,{n + 1}" for name in ("BRK-B", "BRK.B") for n, day in enumerate(frames.days(60))]
    vendor(write(tmp_path / "b", HEADER, *rows)).sync(warehouse)
    assert warehouse.rows("SELECT DISTINCT symbol FROM daily_bars") == [("BRK-B",)]
    assert warehouse.rows("SELECT symbol FROM set_aside") == [("BRK.B",)]


def test_one_company_of_two_sources_is_loaded_once_where_one_rounds(warehouse: Warehouse, tmp_path: Path) -> None:
    closes = [60.1234 + n * 0.3137 for n in range(120)]
    days = frames.days(120)
    exact = [f"OLD,{day},{c},{c * 1.01},{c * 0.99},{c},{n}" for n, (day, c) in enumerate(zip(days, closes, strict=True), 1)]
    rounded = [
        f"NEW,{day},{c:.2f},{c * 1.01:.2f},{c * 0.99:.2f},{c:.2f},{n}"
        for n, (day, c) in enumerate(zip(days, closes, strict=True), 9)
    ]
    other = [f"X,{day},{c + 1},{c + 2},{c},{c + 1},{n}" for n, (day, c) in enumerate(zip(days, closes, strict=True), 1)]
    vendor(write(tmp_path / "b", HEADER, *exact[:100], *rounded, *other)).sync(warehouse)
    assert warehouse.rows("SELECT DISTINCT symbol FROM daily_bars ORDER BY 1") == [("NEW",), ("X",)]
    assert warehouse.rows("SELECT reason FROM set_aside") == [
        ("the bars of OLD are those of NEW: one company under two names",)
    ]


@pytest.mark.parametrize("listed", [False, True])
def test_bars_that_two_symbols_share_in_part_are_kept_once(warehouse: Warehouse, tmp_path: Path, listed: bool) -> None:
    days = frames.days(120)

    def rows(symbol: str, places: range, price: float) -> list[str]:
        return [f"{symbol},{days[n]},{price + n},{price + n + 1},{price + n - 1},{price + n},{n + 1}" for n in places]

    one = [*rows("ONE", range(120), 10.0)]
    two = [*rows("ALSO", range(80), 500.0), *rows("ALSO", range(80, 120), 10.0)]
    folder = write(tmp_path / "b", HEADER, *one, *two, *rows("X", range(101, 120), 10.0), *rows("X", range(100), 900.0))
    if listed:
        (folder / "candidates.csv").write_text("symbol\nONE\nALSO\nX\n")
    vendor(folder).sync(warehouse)
    stored = dict(warehouse.rows("SELECT symbol, count(*) FROM daily_bars GROUP BY symbol"))
    assert stored == {"ONE": 120, "ALSO": 120 if listed else 80, "X": 119}, "19 bars may be chance"
    assert warehouse.rows("SELECT symbol, session, reason FROM set_aside") == (
        [] if listed else [("ALSO", days[80], "40 bars of ALSO are those of ONE, which keeps them")]
    )


def test_taking_back_a_tenth_of_the_store_is_asked_for(warehouse: Warehouse, tmp_path: Path) -> None:
    rows = [f"A,{day},10,11,9,10.5,1000" for day in frames.days(300)]
    vendor(write(tmp_path / "t", HEADER, *rows)).sync(warehouse)
    with pytest.raises(MarketDataError, match=r"has 5 bars, the store 300: 295 of them would be taken back: `kobe bars "):
        vendor(write(tmp_path / "t", HEADER, *rows[-5:])).sync(warehouse)
    assert vendor(tmp_path / "t").sync(warehouse, force=True).bars == 5


def test_whatever_else_is_in_a_symbol_is_data(warehouse: Warehouse, tmp_path: Path) -> None:
    names = [
        "'; DROP TABLE daily_bars; --",
        'say "hi"',
        "<script>alert(1)</script>",
        "../../etc",
        "Ünï",
        "NULL",
        "nan",
        "BRK B",
        "日経",
        "a,b",
    ]
    quoted = ['"' + name.replace('"', '""') + '",2020-01-02,10,11,9,10.5,1000' for name in names]
    vendor(write(tmp_path / "odd", HEADER, *quoted)).sync(warehouse)
    assert {row[0] for row in warehouse.rows("SELECT symbol FROM daily_bars")} == set(names)


@pytest.mark.parametrize("folder", ["plain", "year=2020", "a[1]*?", "with space"])
def test_the_folders_name_is_only_a_name(warehouse: Warehouse, tmp_path: Path, folder: str) -> None:
    report = vendor(write(tmp_path / folder, HEADER, GOOD)).sync(warehouse)
    assert report.bars == 1
    parquet = write_parquet(tmp_path / "p" / folder, parquet_row())
    assert vendor(parquet).sync(warehouse).unchanged == 1


def test_header_case_byte_order_mark_extra_columns_and_midnight_do_not_matter(warehouse: Warehouse, tmp_path: Path) -> None:
    lines = [
        "\ufeffSYMBOL, Session ,open,HIGH,low,close,volume,Exchange,vwap,trades",
        "A,2020-01-02 00:00:00,10,11,9,10.5,1e3,XNYS,10.2,7",
    ]
    vendor(write(tmp_path / "loose", *lines)).sync(warehouse)
    rows = warehouse.rows("SELECT symbol, session, open, volume, vwap, trades FROM daily_bars")
    assert rows == [("A", DAY1, 10.0, 1000.0, 10.2, 7)]


def test_row_order_and_file_format_change_nothing(warehouse: Warehouse, tmp_path: Path) -> None:
    rows = [f"{symbol},{day},{10 + n / 7},{12 + n / 7},{9 + n / 7},{10.1 + n / 7},{1000 + n}"
            for symbol in ("B", "A", "C") for n, day in enumerate(frames.days(40))]  # fmt: skip
    splits = ["A,2020-01-10,1,2", "B,2020-01-10,1,3"]
    tables = ("daily_bars", "splits", "candidates")

    def version(folder: Path) -> str:
        there = Warehouse(folder / "kobe.duckdb")
        vendor(folder).sync(there)
        return there.content_version(*tables)

    head = "symbol,execution_date,split_from,split_to\n"
    first = version(write(tmp_path / "one", HEADER, *rows, splits=head + "\n".join(splits)))
    random.Random(3).shuffle(rows)
    shuffled = write(tmp_path / "two", HEADER, *rows, splits=head + "\n".join(splits[::-1]))
    assert version(shuffled) == first
    typed = f"SELECT * REPLACE (session::DATE AS session) FROM read_csv('{shuffled}/bars.csv')"
    parquet = write_parquet(tmp_path / "three", typed)
    (parquet / "splits.csv").write_text((shuffled / "splits.csv").read_text())
    assert version(parquet) == first
    rows[0] = rows[0].replace(",10", ",9.9", 1) if ",10" in rows[0] else rows[0] + "1"
    assert version(write(tmp_path / "four", HEADER, *rows)) != first


def test_a_changed_file_replaces_and_an_unchanged_one_is_not_read_again(warehouse: Warehouse, tmp_path: Path) -> None:
    folder = write(tmp_path / "bars", HEADER, GOOD)
    vendor(folder).sync(warehouse)
    moved = tmp_path / "moved"
    folder.rename(moved)
    assert vendor(moved).sync(warehouse).skipped
    write(moved, HEADER, GOOD.replace("10.5", "10.6"), NEXT)
    report = vendor(moved).sync(warehouse)
    assert (report.skipped, report.changed, report.added, report.revisions) == (False, 1, 1, 1)
    write(
        moved,
        HEADER,
        GOOD.replace("10.5", "10.6"),
        NEXT,
        splits="symbol,execution_date,split_from,split_to\nA,2020-01-03,1,2\n",
    )
    assert not vendor(moved).sync(warehouse).skipped
    narrowed = vendor(moved, end=DAY1).sync(warehouse)
    assert (narrowed.removed, narrowed.bars) == (1, 1)


names = st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"]), min_size=1, max_size=6).filter(
    lambda s: identity(s) == s and wrong_symbol(s) is None
)


prices = st.floats(0.0001, 1e7)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.tuples(names, st.dates(dt.date(1990, 1, 1), dt.date(2030, 1, 1))),
        st.tuples(prices, prices, prices),
        min_size=1,
        max_size=8,
    )
)
def test_any_sound_bars_come_back_bit_for_bit(tmp_path: Path, content: dict) -> None:
    lines, expected = [HEADER], []
    for (symbol, day), (one, two, volume) in content.items():
        low, high = min(one, two), max(one, two)
        lines.append('"' + symbol.replace('"', '""') + f'",{day},{low!r},{high!r},{low!r},{high!r},{volume!r}')
        expected.append((symbol, day, low, high, low, high, volume))
    folder = write(tmp_path / "any", *lines)
    read = vendor(folder).read().bars
    got = [(row.symbol, row.session.date(), row.open, row.high, row.low, row.close, row.volume) for row in read.itertuples()]
    assert sorted(got) == sorted(expected)


def test_other_columns_are_not_read_whatever_they_hold(warehouse: Warehouse, tmp_path: Path) -> None:
    vendor(write(tmp_path, f"{HEADER},factor,listing", f"{GOOD},much,2020-01-02", f"{NEXT},,")).sync(warehouse)
    assert warehouse.rows("SELECT count(*) FROM daily_bars") == [(2,)]


def test_spellings_of_one_symbol_are_joined_with_a_line(warehouse: Warehouse, tmp_path: Path) -> None:
    spelled = ["alfa" if n < 30 else "ALFA" for n in range(60)]
    rows = [f"{name},{day},10,11,9,10.5,{n + 1}" for n, (name, day) in enumerate(zip(spelled, frames.days(60), strict=True))]
    vendor(write(tmp_path / "s", HEADER, *rows)).sync(warehouse)
    assert warehouse.rows("SELECT symbol, count(*) FROM daily_bars GROUP BY ALL") == [("ALFA", 60)]
    assert warehouse.rows("SELECT symbol, reason FROM set_aside") == [
        ("alfa", "ALFA, alfa are one symbol spelled otherwise: read as ALFA")
    ]


def test_spellings_that_contradict_each_other_keep_one(warehouse: Warehouse, tmp_path: Path) -> None:
    days = frames.days(60)
    rows = [f"BRK.B,{day},10,11,9,10.5,{n + 1}" for n, day in enumerate(days)]
    rows += [f"BRK-B,{day},20,21,19,20.5,{n + 1}" for n, day in enumerate(days[:50])]
    vendor(write(tmp_path / "s", HEADER, *rows)).sync(warehouse)
    assert warehouse.rows("SELECT symbol, count(*) FROM daily_bars GROUP BY ALL") == [("BRK.B", 60)]
    assert "with different bars: only BRK.B is kept" in warehouse.rows("SELECT reason FROM set_aside")[0][0]


def test_a_new_name_that_repeats_the_old_ones_history_is_one_company(warehouse: Warehouse, tmp_path: Path) -> None:
    rows = [f"META,{day},10,11,9,10.5,{n + 1}" for n, day in enumerate(frames.days(60))]
    rows += [f"FB,{day},10,11,9,10.5,{n + 1}" for n, day in enumerate(frames.days(40))]
    vendor(write(tmp_path / "s", HEADER, *rows)).sync(warehouse)
    assert warehouse.rows("SELECT DISTINCT symbol FROM daily_bars") == [("META",)]
    assert warehouse.rows("SELECT symbol FROM set_aside") == [("FB",)]
