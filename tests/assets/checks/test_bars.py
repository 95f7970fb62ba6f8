"""Every fault that is planted is found, counted and named; sound bars raise no alarm."""

from __future__ import annotations

import dataclasses
import datetime as dt
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kobe_assets.checks.bars import check_bars
from kobe_assets.checks.findings import FINDINGS, DataFinding
from kobe_assets.checks.sessions import find_stale, find_thin_sessions
from kobe_assets.graph.bar_table import BarTable, read_bar_tables
from kobe_resources.errors import KobeError
from kobe_resources.market_data.changes import Load
from kobe_resources.market_data.local.sample import SampleVendor
from kobe_resources.market_data.set_aside import aside_rows
from kobe_resources.market_data.store import replace_all
from kobe_resources.settings.models import DataSettings, Settings
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders.frames import NOON, bar, days, load, splits

pytestmark = pytest.mark.usefixtures("warehouses_stay_open")

DAYS = days(300)
BLOCKING = {name for name, (blocking, _) in FINDINGS.items() if blocking}


def calm(
    symbol: str, count: int = 60, close: float = 10.0, skip: tuple[int, ...] = (), start: int = 0
) -> list[dict[str, object]]:
    return [bar(symbol, DAYS[n], close) for n in range(start, start + count) if n not in skip]


def jumped(symbol: str, at: int, ratio: float, volume: float = 1000.0, count: int = 60) -> list[dict[str, object]]:
    rows = [bar(symbol, DAYS[n], 10.0) for n in range(at)]
    return rows + [bar(symbol, DAYS[n], 10.0 * ratio, volume if n == at else 1000.0) for n in range(at, count)]


def store(folder: Path, content: Load) -> Warehouse:
    warehouse = Warehouse(folder / "kobe.duckdb")
    replace_all(warehouse, content, "files", "files", "print", NOON)
    return warehouse


def the_table(warehouse: Warehouse) -> BarTable:
    (table,) = read_bar_tables(warehouse)
    return table


def check(warehouse: Warehouse, settings: Settings | None = None) -> dict[str, DataFinding]:
    found = check_bars(warehouse, settings or Settings(), NOON)
    assert [finding.name for finding in found] == list(FINDINGS)
    for finding in found:
        assert finding.ok == (finding.count == 0)
        assert len(finding.offenders) <= 20
        assert (finding.severity == "blocking") == (finding.name in BLOCKING)
    return {finding.name: finding for finding in found}


def failed(found: dict[str, DataFinding]) -> set[str]:
    return {name for name, finding in found.items() if not finding.ok}


def test_sound_bars_pass_every_check(tmp_path: Path) -> None:
    rows = [*calm("A"), *calm("B", close=99.0)]
    assert failed(check(store(tmp_path, load(rows)))) == set()


def test_the_sample_passes_every_check_in_any_year(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "kobe.duckdb")
    SampleVendor(DataSettings()).sync(warehouse)
    found = check_bars(warehouse, Settings(), dt.datetime(2040, 1, 5, tzinfo=dt.UTC))
    assert [finding.name for finding in found if not finding.ok] == []


def test_an_empty_store_is_no_clean_bill(tmp_path: Path) -> None:
    with pytest.raises(KobeError, match="holds no bars"):
        check_bars(Warehouse(tmp_path / "kobe.duckdb"), Settings(), NOON)


def test_contradictory_splits_of_one_who_is_left_out_block_nobody(tmp_path: Path) -> None:
    warehouse = store(tmp_path, load([row for symbol in "AB" for row in calm(symbol)]))
    warehouse.rows("INSERT INTO splits SELECT 'A', DATE '2020-02-20', 20, 20 + i, 'x' FROM range(1, 3) t(i)")
    assert not check(warehouse)["contradictory_splits"].ok
    warehouse.rows("DELETE FROM candidates WHERE symbol = 'A'")
    assert check(warehouse)["contradictory_splits"].ok


def test_a_split_listed_twice_is_stored_once_and_named(tmp_path: Path) -> None:
    twice = splits(*[("A", DAYS[35], 20.0, 21.0)] * 2)
    warehouse = store(tmp_path, load([row for symbol in "AB" for row in calm(symbol)], twice))
    assert warehouse.rows("SELECT count(*) FROM splits") == [(1,)]
    finding = check(warehouse)["refused_bars"]
    assert (finding.severity, finding.ok, finding.count) == ("warning", False, 1)
    assert "split 21:20 listed 2 times, stored once" in finding.seen


PLANTED = {
    "duplicate_bars": ("INSERT INTO daily_bars SELECT * FROM daily_bars WHERE symbol = 'A' AND session = $day", 1),
    "ohlc_order": ("UPDATE daily_bars SET high = close - 0.01 WHERE symbol = 'A' AND session = $day", 1),
    "non_positive": ("UPDATE daily_bars SET volume = -1 WHERE symbol = 'B' AND session >= $day", 25),
    "duplicate_splits": ("INSERT INTO splits SELECT 'A', $day, 20, 21, 'x' FROM range(2)", 1),
    "contradictory_splits": ("INSERT INTO splits SELECT 'A', $day, 20, 20 + i, 'x' FROM range(1, 3) t(i)", 1),
    "unknown_sessions": (
        "UPDATE daily_bars SET session = DATE '2020-02-29' WHERE symbol = 'A' AND session = DATE '2020-02-28'",
        1,
    ),
    "missing_sessions": ("DELETE FROM daily_bars WHERE symbol = 'A' AND session = $day", 1),
    "zero_volume_runs": ("UPDATE daily_bars SET volume = 0 WHERE symbol = 'A' AND session >= $day", 1),
    "splits_without_jump": ("INSERT INTO splits VALUES ('A', $day, 1, 2, 'x')", 1),
    "dividends_without_fall": ("INSERT INTO dividends VALUES ('A', $day, 3, 'special', NULL, 'x')", 1),
    "corporate_actions": ("INSERT INTO corporate_actions VALUES ('A', $day, 'spin_off', 'B', 0.5, 'x')", 1),
    "orphan_bars": ("DELETE FROM candidates WHERE symbol = 'A'", 1),
}


@pytest.mark.parametrize(("name", "edit", "count"), [(name, *planted) for name, planted in PLANTED.items()], ids=PLANTED)
def test_a_planted_fault_is_found_counted_and_named(tmp_path: Path, name: str, edit: str, count: int) -> None:
    warehouse = store(tmp_path, load([row for symbol in "ABCDEF" for row in calm(symbol)]))
    with warehouse.transaction() as connection:
        connection.execute(edit, {"day": DAYS[35]} if "$day" in edit else {})
    found = check(warehouse)
    finding = found[name]
    assert finding.count == count
    assert not finding.ok
    if name not in ("unknown_sessions", "non_positive"):
        assert finding.offenders["symbol"].iloc[0] == "A"
    if name in ("duplicate_bars", "ohlc_order", "duplicate_splits", "contradictory_splits"):
        # What blocks says whom it is about, so that a person at a terminal can mend it.
        assert "symbol A" in finding.seen
        assert str(DAYS[35]) in finding.seen
    expected_too = {
        "unknown_sessions": {"missing_sessions", "thin_sessions"},
        "splits_without_jump": {"suspect_jumps"},
        "dividends_without_fall": {"dividend_yields"},
    }.get(name, set())
    assert failed(found) == {name} | expected_too


@pytest.mark.parametrize("change", ["close = 0", "low = -1", "open = 'nan'", "high = 'inf'", "volume = 'nan'"])
def test_numbers_that_are_none_are_found(tmp_path: Path, change: str) -> None:
    warehouse = store(tmp_path, load(calm("A")))
    with warehouse.transaction() as connection:
        connection.execute(f"UPDATE daily_bars SET {change} WHERE session = '{DAYS[3]}'")
    assert check(warehouse)["non_positive"].count == 1


def test_a_split_dated_a_week_late_is_found_twice_over(tmp_path: Path) -> None:
    content = load(jumped("A", 30, 0.5), splits(("A", DAYS[35], 1, 2)))
    found = check(store(tmp_path, content))
    assert found["suspect_jumps"].count == 2
    assert found["splits_without_jump"].offenders["expected_ratio"].iloc[0] == pytest.approx(0.5)


def test_a_ticker_back_after_long_absence_is_reused_and_a_short_halt_is_not(tmp_path: Path) -> None:
    rows = [*calm("HALT", skip=tuple(range(20, 30))), *calm("REUSED", skip=tuple(range(20, 31))), *calm("WHOLE")]
    found = check(store(tmp_path, load(rows)))
    reused = found["reused_tickers"]
    assert list(reused.offenders["symbol"]) == ["REUSED"]
    assert reused.offenders["missing"].iloc[0] == 11
    assert found["missing_sessions"].count == 21


def test_zero_volume_runs_end_with_their_symbol(tmp_path: Path) -> None:
    def quiet(symbol: str, bars: range) -> list[dict[str, object]]:
        return [bar(symbol, DAYS[n], volume=0.0 if n in bars else 9.0) for n in range(60)]

    rows = [*quiet("A", range(58, 60)), *quiet("B", range(2)), *quiet("C", range(10, 13)), *quiet("D", range(55, 60))]
    found = check(store(tmp_path, load(rows)))["zero_volume_runs"]
    assert list(zip(found.offenders["symbol"], found.offenders["bars"], strict=True)) == [("D", 5), ("C", 3)]


def test_a_day_that_lost_its_symbols_is_thin() -> None:
    sessions = np.array([day for n, day in enumerate(DAYS[:60]) for _ in range(7 if n == 40 else 10)], dtype="datetime64[D]")
    found = find_thin_sessions(*np.unique(sessions, return_counts=True))
    assert found.count == 1
    assert found.offenders["session"].iloc[0].date() == DAYS[40]
    assert (found.offenders["bars"].iloc[0], found.offenders["usual"].iloc[0]) == (7, 10.0)
    eight = np.array([day for n, day in enumerate(DAYS[:60]) for _ in range(8 if n == 40 else 10)], dtype="datetime64[D]")
    assert find_thin_sessions(*np.unique(eight, return_counts=True)).ok


def test_staleness_is_judged_against_what_the_vendor_should_have() -> None:
    now = dt.datetime(2024, 7, 5, 12, tzinfo=dt.UTC)
    polygon = Settings(data=DataSettings(vendor="polygon"))
    assert find_stale(dt.date(2024, 7, 3), polygon, now).ok
    late = find_stale(dt.date(2024, 7, 1), polygon, now)
    assert (late.ok, late.count) == (False, 2)
    assert "kobe bars refresh" in late.seen
    assert find_stale(dt.date(2024, 7, 3), polygon, dt.datetime(2024, 7, 5, 21, tzinfo=dt.UTC)).ok
    assert not find_stale(dt.date(2024, 7, 3), polygon, dt.datetime(2024, 7, 6, 3, tzinfo=dt.UTC)).ok
    ended = Settings(data=DataSettings(vendor="polygon", end=dt.date(2013, 3, 3)))
    assert find_stale(dt.date(2013, 3, 1), ended, now).ok
    assert not find_stale(dt.date(2013, 2, 28), ended, now).ok
    assert find_stale(dt.date(2013, 3, 1), Settings(), now).ok


def test_set_aside_rows_are_told_by_reason_with_symbol_day_and_line(tmp_path: Path) -> None:
    content = load(calm("A"))
    days = [("A", DAYS[n], "no session", None, {}) for n in (3, 4)]
    given = [*days, ("", None, "X.csv is not read", None, {}), ("B", DAYS[9], "no session", None, {})]
    found = check(store(tmp_path, dataclasses.replace(content, aside=aside_rows(given))))["set_aside_rows"]
    assert found.count == 4
    assert f"3 x no session (A {DAYS[3]}; others: B); X.csv is not read" in found.seen


def test_names_that_are_read_otherwise_are_not_counted_among_the_rows_set_aside(tmp_path: Path) -> None:
    named = ("a", None, "a is read as A", None, {})
    given = [named, ("A", DAYS[3], "no session", None, {})]
    content = load(calm("A"))
    found = check(store(tmp_path / "1", dataclasses.replace(content, aside=aside_rows(given))))["set_aside_rows"]
    assert found.seen.startswith("1 rows of the source are set aside")
    assert found.seen.endswith("; a is read as A")
    found = check(store(tmp_path / "2", dataclasses.replace(content, aside=aside_rows([named]))))["set_aside_rows"]
    assert found.seen == "a is read as A"


def test_rows_set_aside_alike_in_all_but_their_day_are_one_reason_where_there_are_many(tmp_path: Path) -> None:
    again = [("A", DAYS[n], f"x.csv: 'A {DAYS[n]}' was already given in line {n + 2}", 300 + n, {}) for n in range(40)]
    odd = [("B", DAYS[n], f"x.csv: low {n}.5 is above close 1.25", 400 + n, {}) for n in range(3)]
    content = dataclasses.replace(load(calm("A")), aside=aside_rows([*again, *odd]))
    found = check(store(tmp_path, content))["set_aside_rows"]
    assert (found.count, len(found.offenders)) == (43, 2)
    first = f"40 x x.csv: 'A {DAYS[0]}' was already given in line 2 (A {DAYS[0]}, line 300)"
    assert f"{first}; 3 x x.csv: low 0.5 is above close 1.25 (B {DAYS[0]}, line 400)" in found.seen


def test_a_warning_of_several_symbols_names_them(tmp_path: Path) -> None:
    gone = [row for name in ("A", "B", "C") for row in calm(name, skip=tuple(range(20, 33)))]
    found = check(store(tmp_path, load([*gone, *calm("D")])))["reused_tickers"]
    assert found.seen.startswith("3 times a ticker came back after a long absence; the worst: symbol A, ")
    assert found.seen.endswith("; others: B, C")


def test_a_history_restated_by_one_factor_is_told(tmp_path: Path) -> None:
    store(tmp_path, load(calm("A")))
    warehouse = Warehouse(tmp_path / "kobe.duckdb")
    replace_all(warehouse, load(calm("A", close=2.5)), "files", "files", "other", NOON + dt.timedelta(days=1))
    assert check(warehouse)["restated_bars"].seen.startswith("60 bars of A restated by 0.25; one factor throughout")


def test_volumes_of_another_unit_are_told_as_restated(tmp_path: Path) -> None:
    store(tmp_path, load(calm("A")))
    warehouse = Warehouse(tmp_path / "kobe.duckdb")
    bars = load(calm("A"))
    hundreds = replace(bars, bars=bars.bars.assign(volume=bars.bars["volume"] / 100))
    replace_all(warehouse, hundreds, "files", "files", "other", NOON + dt.timedelta(days=1))
    assert check(warehouse)["restated_bars"].seen == "60 volumes of A restated by 0.01"


def test_what_the_last_load_took_back_is_told(tmp_path: Path) -> None:
    both = [*calm("A", 60), *calm("B", 25), *calm("C", 300)]
    store(tmp_path, load(both, splits(("A", DAYS[30], 1, 2))))
    warehouse = Warehouse(tmp_path / "kobe.duckdb")
    replace_all(warehouse, load([*calm("A"), *calm("C", 300)]), "files", "files", "other", NOON + dt.timedelta(days=1))
    assert check(warehouse)["restated_bars"].seen == "25 bars of B taken back, 1 splits of A taken back"
    replace_all(warehouse, load([*calm("A"), *calm("C", 300)]), "files", "files", "third", NOON + dt.timedelta(days=2))
    assert check(warehouse)["restated_bars"].ok


def test_older_closes_between_cents_are_adjusted_prices(tmp_path: Path) -> None:
    def priced(symbol: str, factor: float, before: int) -> list[dict[str, object]]:
        closes = [round((10 + n % 7 / 100) * (factor if n < before else 1.0), 4) for n in range(200)]
        return [bar(symbol, DAYS[n], close) for n, close in enumerate(closes)]

    found = check(store(tmp_path, load([*priced("A", 0.987, 150), *priced("B", 1.0, 0), *priced("C", 0.987, 200)])))
    assert found["adjusted_prices"].offenders["symbol"].tolist() == ["A"]
    assert "the prices of 1 symbols look adjusted (A)" in found["adjusted_prices"].seen


def test_a_session_that_repeats_the_one_before_for_most_symbols_is_told(tmp_path: Path) -> None:
    def rows(copied: str) -> list[dict[str, object]]:
        moving = {s: [bar(s, DAYS[n], 10 + 0.1 * (n % 7), 1000.0 + n) for n in range(60)] for s in "ABCDEFGH"}
        for symbol in copied:
            moving[symbol][40] = {**moving[symbol][39], "session": moving[symbol][40]["session"]}
        return [row for own in moving.values() for row in own]

    found = check(store(tmp_path / "few", load(rows("ABCD"))))["repeated_prices"]
    assert found.ok
    found = check(store(tmp_path / "most", load(rows("ABCDE"))))["repeated_prices"]
    assert (found.count, set(found.offenders["symbol"])) == (5, set("ABCDE"))
    assert {str(day.date()) for day in found.offenders["last_session"]} == {str(DAYS[40])}


def test_a_bar_years_before_all_others_is_told(tmp_path: Path) -> None:
    for day in (dt.date(2009, 1, 2), dt.date(1920, 1, 2)):
        rows = [bar("A", day), *calm("A"), *calm("B")]
        found = check(store(tmp_path / str(day.year), load(rows)))["lone_sessions"]
        assert (found.count, found.offenders["symbol"][0], found.offenders["bars"][0]) == (1, "A", 1)
        assert f"symbol A, session {day}" in found.seen
    assert check(store(tmp_path / "gap", load([*calm("A"), *calm("B", start=100)])))["lone_sessions"].ok, "a long hole is none"


def test_dividends_that_may_be_one_are_told(tmp_path: Path) -> None:
    days = [10, 70, 130, 190, 250]
    paid = [("A", n, 0.5) for n in (*days, 194)] + [("B", n, 0.5) for n in range(5, 250, 5)] + [("C", n, 0.2) for n in days]
    rows = [(symbol, DAYS[n], amount) for symbol, n, amount in [*paid, ("C", 70, 0.3)]]
    content = load([*calm("A", 300), *calm("B", 300), *calm("C", 300)])
    dividends = pd.DataFrame(rows, columns=["symbol", "ex_date", "amount"])
    found = check(store(tmp_path, dataclasses.replace(content, dividends=dividends)))["repeated_dividends"]
    assert [(row.symbol, row.ex_date.date()) for row in found.offenders.itertuples()] == [("A", DAYS[194]), ("C", DAYS[70])]
    assert f"A pays on {DAYS[190]} and {DAYS[194]} ($0.5 and $0.5), and 1 more (C)" in found.seen
    twice = pd.DataFrame([("C", DAYS[n], 0.2) for day in days for n in (day, day + 4)], columns=["symbol", "ex_date", "amount"])
    found = check(store(tmp_path / "twice", dataclasses.replace(content, dividends=twice)))["repeated_dividends"]
    assert found.count == len(days), "every one of them is listed twice: its usual step is no step of days"
    found = check(store(tmp_path / "first", dataclasses.replace(content, dividends=twice.head(2))))["repeated_dividends"]
    assert found.count == 1, "the only dividend is listed twice: nothing says what is usual"


def test_a_fall_of_twelve_usual_days_without_a_crowd_is_told(tmp_path: Path) -> None:
    closes = [10.0 * (1.01 if n % 2 else 1.0) * (0.8 if n >= 40 else 1.0) for n in range(60)]
    rows = [bar("A", DAYS[n], close) for n, close in enumerate(closes)]
    found = check(store(tmp_path / "quiet", load(rows)))["silent_moves"]
    assert (found.count, found.offenders["symbol"].iloc[0], found.offenders["session"].iloc[0].date()) == (1, "A", DAYS[40])
    rows[40] = bar("A", DAYS[40], closes[40], 9000.0)
    assert check(store(tmp_path / "crowd", load(rows)))["silent_moves"].ok


@pytest.mark.parametrize(("after", "reported"), [(9000.0, True), (2000.0, False)])
def test_a_leap_whose_crowd_never_goes_home_is_told_as_another_company(tmp_path: Path, after: float, reported: bool) -> None:
    closes = [10.0 * (1.01 if n % 2 else 1.0) * (2.5 if n >= 40 else 1.0) for n in range(80)]
    volumes = [1000.0] * 40 + [9000.0] + [after] * 39
    rows = [bar("A", DAYS[n], closes[n], volumes[n]) for n in range(80)]
    found = check(store(tmp_path, load(rows)))
    assert found["suspect_jumps"].ok, "the rule of quarantine lets a crowd confirm it"
    assert found["silent_moves"].ok is not reported
    if reported:
        assert "1 after which so many shares are usual: another company under the ticker?" in found["silent_moves"].seen
        assert "symbol A" in found["silent_moves"].seen


def test_a_print_far_out_of_the_closes_around_it_is_told(tmp_path: Path) -> None:
    rows = [bar("A", DAYS[n], 10.0 * (1.01 if n % 2 else 1.0)) for n in range(60)]
    rows[30] = rows[30] | {"open": 16.0, "high": 16.0}
    rows[40] = rows[40] | {"low": 7.0}
    rows[50] = rows[50] | {"high": 15.0, "volume": 9000.0}
    found = check(store(tmp_path, load(rows)))["odd_prints"].offenders
    assert [(row.price, row.session.date()) for row in found.itertuples()] == [("open", DAYS[30]), ("low", DAYS[40])]


def test_weekly_bars_are_said_to_be_weekly(tmp_path: Path) -> None:
    rows = [bar("A", day) for day in DAYS[::5]] + calm("B", 100)
    found = check(store(tmp_path, load(rows)))["weekly_bars"]
    assert found.count == 1
    assert "the bars of 1 symbols are weekly, not daily" in found.seen
    assert "symbol A" in found.seen
    rows = [bar("A", day) for day in days(1000)[::22]] + [bar("B", day) for day in days(1000)]
    found = check(store(tmp_path / "monthly", load(rows)))["weekly_bars"]
    assert "the bars of 1 symbols are monthly, not daily" in found.seen, "though each bar is a listing of its own"


def test_weeks_before_days_are_told_though_most_bars_are_daily(tmp_path: Path) -> None:
    rows = [bar("A", day) for day in [*DAYS[:150:5], *DAYS[150:]]] + [bar("B", day) for day in DAYS]
    found = check(store(tmp_path, load(rows)))["weekly_bars"]
    assert [(row.symbol, row.session.date(), row.days_apart) for row in found.offenders.itertuples()] == [("A", DAYS[0], 7.0)]
