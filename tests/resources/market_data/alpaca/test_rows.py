"""Rows of Alpaca one by one: what is a bar, what is widened, what is no trade, what is refused; and rates as ratios."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest

from kobe_resources.market_data.alpaca.actions import Action, Actions, Names, ratio
from kobe_resources.market_data.alpaca.bars import Sessions, join_pages, read_page
from tests.support.loopback_alpaca import dividend_row, split_row, stamp

FIRST, LAST = dt.date(2026, 1, 2), dt.date(2026, 11, 20)
DAY = dt.date(2026, 3, 9)
ROW = {"o": 10.0, "h": 11.0, "l": 9.0, "c": 10.5, "v": 100, "n": 3, "vw": 10.1, "t": stamp(DAY)}


def page(*rows: Any) -> Any:
    return read_page({"KO": list(rows)}, FIRST, LAST, Sessions())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"c": None}, "not a finite number"),
        ({"c": "10.5"}, "not a finite number"),
        ({"v": float("inf")}, "not a finite number"),
        ({"v": 10**400}, "not a finite number"),
        ({"l": 0.0}, "not positive"),
        ({"v": -1}, "not positive"),
        ({"v": 2 * 10**15}, "more shares than there are"),
        ({"c": 1e308, "h": 1e308}, "a price that no share costs"),
        ({"h": 8.0}, "open, high, low, close out of order"),
        ({"o": 11.2}, "open, high, low, close out of order"),
        ({"t": "2026-03-09"}, "timestamp"),
        ({"t": 1773028800000}, "timestamp"),
    ],
)
def test_a_row_that_is_no_bar_is_refused_and_the_one_beside_it_kept(change: dict[str, Any], reason: str) -> None:
    other = {**ROW, "t": stamp(dt.date(2026, 3, 10))}
    found = page({**ROW, **change}, other, "no row")
    assert [refusal.reason for refusal in found.refused] == [reason, "timestamp"]
    assert found.sessions.tolist() == [dt.date(2026, 3, 10)]


def test_a_row_outside_the_asked_days_is_left_out_without_a_word() -> None:
    found = page({**ROW, "t": stamp(dt.date(2026, 11, 23))}, ROW)
    assert (found.sessions.tolist(), found.refused) == ([DAY], ())


def test_fields_that_may_be_missing_are_unknown_and_volume_without_trades_is_no_placeholder() -> None:
    bare = {key: value for key, value in ROW.items() if key not in ("n", "vw")}
    found = page(bare, {**ROW, "v": 0, "t": stamp(dt.date(2026, 3, 10))})
    assert found.placeholders == 0
    assert np.isnan(found.columns["vwap"][0])
    assert np.isnan(found.columns["trades"][0])
    assert page({**ROW, "v": 0, "n": 0, "vw": 0}).placeholders == 1


def test_equal_rows_count_once_and_of_two_that_differ_neither_is_kept() -> None:
    other = {**ROW, "t": stamp(dt.date(2026, 3, 10))}
    twice = join_pages([page(ROW, other), page(ROW)])
    assert (len(twice.bars), twice.bars.refused) == (2, ())
    differing = join_pages([page(ROW, other), page({**ROW, "v": 101})])
    assert differing.bars.sessions.tolist() == [dt.date(2026, 3, 10)]
    assert [refusal.reason for refusal in differing.bars.refused] == ["two bars of one session that differ"]


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        (1, 4, (1, 4)),
        (8, 1, (8, 1)),
        (1, 1.33333, (3, 4)),
        (1, 0.33333, (3, 1)),
        (1, 0.66667, (3, 2)),
        (1, 1.05, (20, 21)),
        (1, 1.16667, (6, 7)),
        (1, 0.00667, (150, 1)),
        (1, 1.00123, (1, 1.00123)),
        (1000, 1281, (1000, 1281)),
    ],
)
def test_a_rate_cut_to_five_decimals_is_the_small_ratio_that_it_stands_for(
    before: float, after: float, wanted: tuple[float, float]
) -> None:
    assert ratio(float(before), float(after)) == wanted


def test_rows_that_cannot_be_read_are_refused_one_by_one() -> None:
    actions = Actions()
    actions.add(
        {
            "forward_splits": [
                split_row("A", "2026-03-02", 1, 2),
                split_row("B", "2026-03-02", 0, 2),
                split_row("D", "2026-03-02", 1, 2e5),
                None,
                {"symbol": "C"},
            ],
            "cash_dividends": [dividend_row("A", "2026-03-02", 0.1), {**dividend_row("A", "2026-03-02", 0.2), "ex_date": None}],
            "partial_calls": [{}, {}],
        }
    )
    assert [split.symbol for split in actions.splits] == ["A"]
    assert [dividend.amount for dividend in actions.dividends] == [0.1]
    assert len(actions.refused) == 5
    assert actions.unknown == {"partial_calls": 2}


def renamed(day: str, old: str, new: str) -> Action:
    return Action(old, dt.date.fromisoformat(day), "name_change", new, None)


def test_names_are_followed_through_time() -> None:
    names = Names([renamed("2020-01-02", "A", "B"), renamed("2022-01-03", "B", "C"), renamed("2023-01-03", "X", "X")])
    early, late = dt.date(2019, 1, 2), dt.date(2022, 6, 1)
    assert names.bearer("A", early, {"C", "A"}) == "C"
    assert names.bearer("A", early, {"A"}) == "A"
    assert names.bearer("A", late, {"C"}) is None
    assert names.given_up("A", {"A", "C"}) == dt.date(2020, 1, 2)
    assert names.given_up("A", {"A"}) is None
    assert names.last_left("A") == dt.date(2020, 1, 2)
    assert names.last_left("X") is None
    assert names.former({"C"}) == {"A", "B"}


def test_a_name_taken_back_is_the_companys_again() -> None:
    names = Names([renamed("2020-01-02", "A", "B"), renamed("2021-01-04", "B", "A")])
    assert names.given_up("A", {"A"}) is None
    assert names.last_left("A") is None
