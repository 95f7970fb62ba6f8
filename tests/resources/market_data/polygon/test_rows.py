"""What of the vendor's rows may be stored: documented bodies parse, bad rows are refused by name, contradictions refuse all."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kobe_resources.market_data.polygon.errors import PolygonIncomplete, PolygonMalformed
from kobe_resources.market_data.polygon.rows import (
    BarColumns,
    RefusedRow,
    frame_of,
    grouped_bars,
    is_symbol,
    range_bars,
    split_rows,
    stable_read,
    ticker_rows,
)

pytestmark = pytest.mark.usefixtures("warehouses_stay_open")

START, END = dt.date(2026, 1, 2), dt.date(2026, 12, 31)
JULY_1_MS = 1_782_878_400_000
"""2026-07-01 00:00 in New York."""
DAY_MS = 86_400_000


def row(**changes: Any) -> dict[str, Any]:
    return {"v": 1000.0, "vw": 10.1, "o": 10.0, "c": 10.5, "h": 11.0, "l": 9.5, "t": JULY_1_MS, "n": 12, **changes}


def bars(*rows: dict[str, Any]) -> BarColumns:
    return range_bars(list(rows), "AAA", START, END)


def only_refusal(answer: BarColumns) -> RefusedRow:
    assert len(answer.refused) == 1
    return answer.refused[0]


def test_a_documented_range_answer_parses() -> None:
    body = b"""{"adjusted": false, "next_url": null, "queryCount": 2, "request_id": "r", "results": [
      {"c": 75.0875, "h": 75.15, "l": 73.7975, "n": 1, "o": 74.06, "t": 1577941200000, "v": 135647456, "vw": 74.6099},
      {"c": 74.3575, "h": 75.145, "l": 74.125, "n": 1, "o": 74.2875, "t": 1578027600000, "v": 1.46535512e+08, "vw": 74.7026}],
      "resultsCount": 2, "status": "OK", "ticker": "AAPL"}"""
    answer = range_bars(orjson.loads(body)["results"], "AAPL", dt.date(2020, 1, 1), dt.date(2020, 1, 31))
    frame = frame_of([answer])
    assert frame["session"].dt.date.tolist() == [dt.date(2020, 1, 2), dt.date(2020, 1, 3)]
    assert frame["close"].tolist() == [75.0875, 74.3575]
    assert frame["volume"].tolist() == [135647456.0, 146535512.0]
    assert not answer.refused


def test_a_documented_grouped_answer_parses_and_vw_and_n_may_be_missing() -> None:
    body = b"""{"adjusted": false, "queryCount": 2, "results": [
      {"T": "KIMO", "c": 25.9102, "h": 26.25, "l": 25.91, "n": 74, "o": 26.07, "t": 1602705600000, "v": 4345.5, "vw": 26.0407},
      {"T": "BRK.B", "c": 23.4, "h": 24.763, "l": 22.65, "o": 24.5, "t": 1602705600000, "v": 25933.6}],
      "resultsCount": 2, "status": "OK"}"""
    answer = grouped_bars(orjson.loads(body)["results"], dt.date(2020, 10, 14), {"KIMO", "BRK.B"})
    frame = frame_of([answer]).set_index("symbol")
    assert frame.index.tolist() == ["BRK.B", "KIMO"]
    assert np.isnan(frame.loc["BRK.B", "vwap"])
    assert np.isnan(frame.loc["BRK.B", "trades"])
    assert frame.loc["KIMO", "volume"] == 4345.5


def test_documented_splits_and_tickers_parse() -> None:
    splits = b"""[{"execution_date": "2020-08-31", "split_from": 1, "split_to": 4, "ticker": "AAPL", "id": "E1"},
      {"execution_date": "2005-02-28", "split_from": 1, "split_to": 2, "ticker": "AAPL"},
      {"execution_date": "2021-07-20", "split_from": 1, "split_to": 1.0145, "ticker": "XYZ"}]"""
    assert split_rows(orjson.loads(splits)).rows == [
        ("AAPL", dt.date(2020, 8, 31), 1.0, 4.0),
        ("AAPL", dt.date(2005, 2, 28), 1.0, 2.0),
        ("XYZ", dt.date(2021, 7, 20), 1.0, 1.0145),
    ]
    tickers = b"""[{"active": true, "cik": "0001090872", "composite_figi": "BBG000BWQYZ5", "currency_name": "usd",
      "last_updated_utc": "2021-04-25T00:00:00Z", "locale": "us", "market": "stocks", "name": "Agilent Technologies Inc.",
      "primary_exchange": "XNYS", "share_class_figi": "BBG001SCTQY4", "ticker": "A", "type": "CS"}]"""
    assert ticker_rows(orjson.loads(tickers)).rows == [("A", "Agilent Technologies Inc.", "CS", True)]


@pytest.mark.parametrize(
    ("stamp", "session"),
    [
        (1_782_878_400_000, dt.date(2026, 7, 1)),
        (1_782_878_399_999, dt.date(2026, 6, 30)),
        (1_782_878_400_000 + 16 * 3_600_000, dt.date(2026, 7, 1)),
        (1_782_878_400_000 + DAY_MS - 1, dt.date(2026, 7, 1)),
        (1_767_243_600_000, dt.date(2026, 1, 1)),
        (1_767_243_599_999, dt.date(2025, 12, 31)),
    ],
)
def test_the_session_is_the_date_in_new_york_in_summer_and_winter(stamp: int, session: dt.date) -> None:
    answer = range_bars([row(t=stamp)], "AAA", dt.date(2025, 1, 1), END)
    assert answer.sessions.tolist() == [session]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"o": 0.0}, "not positive"),
        ({"c": -1.0}, "not positive"),
        ({"v": -1}, "not positive"),
        ({"v": 1e16}, "more shares than there are"),
        ({"h": 2e9}, "a price that no share costs"),
        ({"h": 10.2}, "open, high, low, close out of order"),
        ({"l": 10.2}, "open, high, low, close out of order"),
        ({"o": None}, "not a finite number"),
        ({"c": "10.5"}, "not a finite number"),
        ({"v": True}, "not a finite number"),
        ({"h": float("inf")}, "not a finite number"),
        ({"l": float("nan")}, "not a finite number"),
        ({"t": None}, "timestamp"),
        ({"t": "2026-07-01"}, "timestamp"),
        ({"t": JULY_1_MS * 1_000_000}, "timestamp"),
        ({"t": -1}, "timestamp"),
    ],
)
def test_a_row_that_cannot_be_a_bar_is_refused_by_name_and_the_others_stay(changes: dict[str, Any], reason: str) -> None:
    answer = bars(row(t=JULY_1_MS + DAY_MS), row(**changes), row(t=JULY_1_MS + 2 * DAY_MS))
    assert only_refusal(answer).reason == reason
    assert only_refusal(answer).symbol == "AAA"
    assert len(answer) == 2


def test_a_missing_field_refuses_the_row() -> None:
    cut = row()
    del cut["c"]
    assert only_refusal(bars(cut)).session == dt.date(2026, 7, 1)


def test_a_day_without_volume_is_a_bar() -> None:
    assert len(bars(row(v=0))) == 1


@pytest.mark.parametrize(("field", "name"), [("vw", "vwap"), ("n", "trades")])
@pytest.mark.parametrize("value", ["x", None, -1.0, float("nan")])
def test_what_may_be_missing_is_missing_when_it_is_nonsense(field: str, name: str, value: Any) -> None:
    answer = bars(row(**{field: value}))
    assert len(answer) == 1
    assert np.isnan(answer.columns[name][0])


@pytest.mark.parametrize("ticker", ["AA\x07", "A\nB", "", "A B", "Ä", "A" * 33, None, 7, "\u202eAPPL"])
def test_a_ticker_with_control_bytes_is_refused_and_named_in_printable_ascii(ticker: Any) -> None:
    day = dt.date(2026, 7, 1)
    answer = grouped_bars([{**row(), "T": ticker}, {**row(), "T": "GOOD"}], day, {"GOOD"})
    assert answer.symbols.tolist() == ["GOOD"]
    assert only_refusal(answer).reason == "control bytes or no ticker"
    assert only_refusal(answer).symbol.isascii()
    assert only_refusal(answer).symbol.isprintable()


@pytest.mark.parametrize("ticker", ["A", "BRK.B", "BACpL", "AAC.WS", "X:1", "BF/B", "NA", "TRUE"])
def test_real_tickers_are_tickers(ticker: str) -> None:
    assert is_symbol(ticker)


def test_equal_rows_are_kept_once_and_counted() -> None:
    answer = bars(row(), row(t=JULY_1_MS + DAY_MS), row(), row())
    assert len(answer) == 2
    assert answer.repeated == 2


@pytest.mark.parametrize("changes", [{"c": 10.6}, {"v": 1001}, {"n": 13}, {"vw": None}])
def test_of_rows_that_contradict_each_other_none_is_kept(changes: dict[str, Any]) -> None:
    answer = bars(row(), row(**changes), row(), row(t=JULY_1_MS + DAY_MS))
    assert answer.sessions.tolist() == [dt.date(2026, 7, 2)]
    (refusal,) = answer.refused
    assert (refusal.symbol, refusal.session, refusal.reason) == (
        "AAA",
        dt.date(2026, 7, 1),
        "two bars of one session that differ",
    )


@pytest.mark.parametrize(("high", "widened"), [(1 - 5e-7, 1), (1 - 2e-6, 0)])
def test_rounding_widens_high_and_low_and_no_more(high: float, widened: int) -> None:
    answer = bars(row(o=10.0, c=10.0, l=9.0, h=10.0 * high))
    assert (answer.widened, len(answer), len(answer.refused)) == (widened, widened, 1 - widened)


def test_a_range_with_bars_outside_it_is_malformed() -> None:
    with pytest.raises(PolygonMalformed, match="outside"):
        range_bars([row()], "AAA", dt.date(2026, 7, 2), END)


def test_a_day_with_bars_of_another_is_malformed() -> None:
    with pytest.raises(PolygonMalformed, match="another day"):
        grouped_bars([{**row(), "T": "A"}, {**row(t=JULY_1_MS + DAY_MS), "T": "B"}], dt.date(2026, 7, 1), {"A", "B"})


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(12)), st.lists(st.integers(0, 11), max_size=5))
def test_order_and_repeats_change_nothing(order: list[int], again: list[int]) -> None:
    rows = [{**row(t=JULY_1_MS + 16 * 3_600_000, c=9.6 + index / 100), "T": f"S{index % 7}{index}"} for index in range(12)]
    day = dt.date(2026, 7, 1)
    wanted = {row["T"] for row in rows}
    plain = grouped_bars(rows, day, wanted)
    mixed = grouped_bars([rows[index] for index in [*order, *again]], day, wanted)
    assert mixed.symbols.tolist() == plain.symbols.tolist() == sorted(plain.symbols.tolist())
    assert mixed.columns["close"].tolist() == plain.columns["close"].tolist()
    assert mixed.repeated == len(again)


VALUES = st.one_of(st.none(), st.booleans(), st.text(max_size=3), st.integers(), st.floats(), st.just([]), st.just({}))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("Tvwochltn"), VALUES, max_size=9), max_size=6))
def test_whatever_a_row_holds_it_is_stored_sound_or_refused(rows: list[dict[str, Any]]) -> None:
    good = {**row(t=JULY_1_MS), "T": "GOOD"}
    wanted = {row.get("T") for row in [*rows, good] if isinstance(row.get("T"), str)}
    try:
        answer = grouped_bars([*rows, good], dt.date(2026, 7, 1), wanted)
    except PolygonMalformed:
        return
    assert "GOOD" in answer.symbols
    assert len(answer) + len(answer.refused) + answer.repeated == len(rows) + 1
    for name in ("open", "high", "low", "close"):
        assert (answer.columns[name] > 0).all()
    assert (answer.columns["high"] >= answer.columns["low"]).all()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ticker": "A\x00"}, "split: no ticker"),
        ({"ticker": None}, "split: no ticker"),
        ({"execution_date": "2020-13-01"}, "split: no execution date"),
        ({"execution_date": None}, "split: no execution date"),
        ({"split_from": 0}, "split: ratio is not positive"),
        ({"split_to": -4}, "split: ratio is not positive"),
        ({"split_to": "4"}, "split: ratio is not positive"),
        ({"split_to": 200_000}, "split: ratio is more than any split"),
        ({"split_to": True}, "split: ratio is not positive"),
    ],
)
def test_a_split_that_is_none_is_refused_by_name(changes: dict[str, Any], reason: str) -> None:
    listing = split_rows([{"ticker": "A", "execution_date": "2020-01-02", "split_from": 1, "split_to": 4} | changes])
    assert listing.rows == []
    assert [refusal.reason for refusal in listing.refused] == [reason]


def test_equal_splits_are_kept_once_and_contradictory_ones_both() -> None:
    one = {"ticker": "A", "execution_date": "2020-01-02", "split_from": 1, "split_to": 4}
    assert len(split_rows([one, {**one, "id": "other"}]).rows) == 1
    assert len(split_rows([one, {**one, "split_to": 5}]).rows) == 2


def test_of_two_companies_under_one_ticker_the_active_one_is_the_candidate() -> None:
    past = {"ticker": "META", "name": "Metamaterial", "type": "CS", "active": False}
    now = {"ticker": "META", "name": "Meta\x1b[2J Platforms", "type": "CS", "active": True}
    assert ticker_rows([past, now]).rows == ticker_rows([now, past]).rows == [("META", "Meta[2J Platforms", "CS", True)]


def test_only_the_symbols_asked_for_are_kept() -> None:
    answer = grouped_bars([{**row(), "T": name} for name in "CAB"], dt.date(2026, 7, 1), {"A", "C"})
    assert answer.symbols.tolist() == ["A", "C"]


def test_what_is_wrong_with_the_rows_of_others_holds_nobody_up() -> None:
    contradictory = [{**row(v=volume), "T": "OTHER"} for volume in (1.0, 2.0)]
    answer = grouped_bars([*contradictory, {**row(c=-1.0), "T": "BAD"}, {**row(), "T": "A"}], dt.date(2026, 7, 1), {"A"})
    assert answer.symbols.tolist() == ["A"]
    assert answer.refused == ()


def test_a_row_garbled_once_is_taken_when_it_comes_back_whole() -> None:
    answers = [bars(row(c=-1.0)), bars(row())]
    assert len(stable_read(lambda: answers.pop(0))) == 1


def test_a_row_that_the_vendor_holds_so_is_refused_for_good() -> None:
    asked = []

    def ask() -> BarColumns:
        asked.append(1)
        return bars(row(c=-1.0), row(t=JULY_1_MS + DAY_MS))

    assert len(stable_read(ask)) == 1
    assert len(asked) == 2


def test_answers_that_refuse_other_rows_each_time_are_no_answer() -> None:
    answers = [bars(row(t=JULY_1_MS + index * DAY_MS, c=-1.0)) for index in range(3)]
    with pytest.raises(PolygonIncomplete, match="other bad rows each time"):
        stable_read(lambda: answers.pop(0))


def test_two_rows_whose_tickers_are_marred_alike_are_two() -> None:
    day = dt.date(2026, 7, 1)
    answers = [
        grouped_bars([{**row(), "T": "S0\x07"}, {**row(c=10.1), "T": "S001"}], day, {"S000", "S001"}),
        grouped_bars([{**row(), "T": "S000"}, {**row(c=10.1), "T": "S0\x07"}], day, {"S000", "S001"}),
        grouped_bars([{**row(), "T": "S000"}, {**row(c=10.1), "T": "S001"}], day, {"S000", "S001"}),
    ]
    assert len(stable_read(lambda: answers.pop(0))) == 2
