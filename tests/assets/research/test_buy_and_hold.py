"""Buy and hold against the plain arithmetic of a person with a pencil."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kobe_assets.research.panel import ROW_DIVIDEND, Panel, build_panel
from kobe_assets.research.robustness import buy_and_hold
from kobe_assets.research.simulation import LATE_BARS

NOTHING = np.empty(0, np.int64)


def panel_of(closes: dict[str, dict[int, float]], sessions: int) -> Panel:
    """symbol → session index → close."""
    rows = [(k, day, close) for k, name in enumerate(sorted(closes)) for day, close in closes[name].items()]
    symbol, session, close = (np.array(column) for column in zip(*rows, strict=True))
    columns = {name: close.astype(float) for name in ("open", "high", "low", "close", "raw_close", "volume")}
    days = np.datetime64("2020-01-01") + np.arange(sessions)
    return build_panel(
        tuple(sorted(closes)), days, symbol, session, {**columns, "factor": np.ones(len(close)), "volume": np.ones(len(close))}
    )


def test_equal_dollars_are_bought_once_and_left_alone() -> None:
    panel = panel_of({"A": {0: 10, 1: 20, 2: 40}, "B": {0: 10, 1: 5, 2: 5}}, 3)
    assert buy_and_hold(panel, 0, 2, [0, 1], NOTHING) == pytest.approx([1, (2 + 0.5) / 2, (4 + 0.5) / 2])


def test_a_dividend_buys_its_stock_at_the_close() -> None:
    panel = panel_of({"A": {0: 10, 1: 20, 2: 40}, "B": {0: 10, 1: 10, 2: 10}}, 3)
    panel.rows[panel.bar_at[1, 0], ROW_DIVIDEND] = 2.0
    assert buy_and_hold(panel, 0, 2, [0, 1], NOTHING) == pytest.approx([1, (2.2 + 1) / 2, (4.4 + 1) / 2])


def test_before_it_is_bought_equal_parts_are_weighted_anew() -> None:
    panel = panel_of({"A": {0: 10, 1: 20, 2: 40}, "B": {0: 10, 1: 5, 2: 5}}, 3)
    assert buy_and_hold(panel, 2, 2, [0, 1], NOTHING) == pytest.approx([1, 1.25, 1.25 * 1.5])


def test_a_session_on_which_one_stock_alone_has_a_bar_takes_no_move_from_the_others() -> None:
    usual = {"A": {0: 10, 2: 12}, "B": {0: 10, 2: 30}}
    odd = {"A": {0: 10, 1: 11, 2: 12}, "B": {0: 10, 2: 30}}
    assert (
        buy_and_hold(panel_of(odd, 3), 0, 2, [0, 1], NOTHING)[-1] == buy_and_hold(panel_of(usual, 3), 0, 2, [0, 1], NOTHING)[-1]
    )


def test_what_ends_stays_in_cash_and_what_begins_later_is_not_bought() -> None:
    panel = panel_of({"A": {0: 10, 1: 20}, "B": {0: 10, 1: 10, 2: 10, 3: 10}, "C": {2: 1, 3: 100}, "D": {0: 7}}, 4)
    assert buy_and_hold(panel, 1, 3, [0, 1, 2, 3], NOTHING)[1:] / 1.5 == pytest.approx([1, 1, 1])
    assert buy_and_hold(panel, 0, 3, [0, 1, 2], NOTHING) == pytest.approx([1, 1.5, 1.5, 1.5])


def test_what_has_no_bar_at_the_close_that_buys_is_not_bought() -> None:
    panel = panel_of({"A": {0: 10, 1: 10, 2: 15}, "B": {0: 10, 2: 30}}, 3)
    assert buy_and_hold(panel, 1, 2, [0, 1], NOTHING)[1:] == pytest.approx([1, 1.5])


def test_what_has_its_last_bar_at_the_close_that_buys_is_not_bought_unless_its_bars_are_late() -> None:
    for sessions, growth in ((LATE_BARS + 3, 1.5), (LATE_BARS + 2, 1.25)):
        panel = panel_of(
            {"A": {0: 10, **dict.fromkeys(range(1, sessions - 1), 10), sessions - 1: 15}, "B": {0: 10, 1: 10}}, sessions
        )
        assert buy_and_hold(panel, 1, sessions - 1, [0, 1], NOTHING)[-1] == pytest.approx(growth)


def test_a_move_nobody_vouches_for_does_not_count() -> None:
    panel = panel_of({"A": {0: 10, 1: 5, 2: 6}}, 3)
    assert buy_and_hold(panel, 0, 2, [0], np.array([1])) == pytest.approx([1, 1, 1.2])


def test_a_dividend_counts_where_the_move_does_not() -> None:
    panel = panel_of({"A": {0: 10, 1: 5, 2: 6}}, 3)
    panel.rows[panel.bar_at[1, 0], ROW_DIVIDEND] = 0.5
    assert buy_and_hold(panel, 0, 2, [0], np.array([1])) == pytest.approx([1, 1.1, 1.1 * 1.2])


def test_no_stock_is_cash() -> None:
    panel = panel_of({"A": {0: 10, 1: 5}}, 2)
    assert buy_and_hold(panel, 0, 1, [], NOTHING).tolist() == [1, 1]


@given(
    st.lists(st.lists(st.floats(1, 100), min_size=6, max_size=6), min_size=1, max_size=4),
    st.integers(0, 4),
)
def test_it_is_the_mean_of_what_each_stock_made(prices: list[list[float]], bought: int) -> None:
    panel = panel_of({f"S{k}": dict(enumerate(row)) for k, row in enumerate(prices)}, 6)
    growth = buy_and_hold(panel, bought, 5, list(range(len(prices))), NOTHING)
    assert growth[5] / growth[bought] == pytest.approx(np.mean([row[5] / row[bought] for row in prices]))
