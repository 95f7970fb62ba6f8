"""The figures of rules section 6 on curves and trades that fit on a sheet of paper."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kobe_assets.research.metrics import (
    FIGURES,
    all_figures,
    chain_returns,
    curve_figures,
    daily_returns,
    sharpe,
    sharpe_of_each,
    trade_figures,
    why_undefined,
)

RETURNS = np.array([-0.1, 0.2, 0.05, -0.05])
"""Mean 0.025; deviations -0.125, 0.175, 0.025, -0.075, their squares sum to 0.0525."""
SHARPE = 0.025 / math.sqrt(0.0525 / 3) * math.sqrt(252)


def test_returns_begin_with_the_initial_cash_and_end_with_what_can_be_lost() -> None:
    assert daily_returns(np.array([110.0, 99.0]), 100.0) == pytest.approx([0.1, -0.1])
    assert daily_returns(np.array([50.0, -20.0, 30.0, 60.0]), 100.0).tolist() == [-0.5, -1.0, 0.0, 1.0]
    assert daily_returns(np.array([[50.0, 0.0, 0.0], [100.0, 100.0, 150.0]]), 100.0).tolist() == [
        [-0.5, -1.0, 0.0],
        [0.0, 0.0, 0.5],
    ]


def test_a_chain_that_is_at_0_stays_there() -> None:
    assert chain_returns(np.array([0.1, -1.0, 0.5, -1.0, 0.2])).tolist() == [0.1, -1.0, 0.0, 0.0, 0.0]
    assert chain_returns(np.array([[0.1, 0.2], [-1.0, 0.2]])).tolist() == [[0.1, 0.2], [-1.0, 0.0]]
    assert chain_returns(np.array([-0.999, 0.5])).tolist() == [-0.999, 0.5]


def test_the_figures_of_a_curve() -> None:
    found = curve_figures(RETURNS)
    end = 0.9 * 1.2 * 1.05 * 0.95
    assert found == {
        "sharpe": pytest.approx(SHARPE),
        "sortino": pytest.approx(0.025 / math.sqrt((0.01 + 0.0025) / 4) * math.sqrt(252)),
        "cagr": pytest.approx(end**63 - 1),
        "volatility": pytest.approx(math.sqrt(0.0525 / 3) * math.sqrt(252)),
        # Before the first session stands the initial cash: a fall in it is a fall.
        "max_drawdown": pytest.approx(-0.1),
        "calmar": pytest.approx((end**63 - 1) / 0.1),
    }
    assert sharpe(RETURNS) == pytest.approx(SHARPE)
    each = sharpe_of_each(np.array([RETURNS, np.zeros(4), -RETURNS]))
    assert each == pytest.approx([SHARPE, math.nan, -SHARPE], nan_ok=True)


def test_figures_of_a_curve_that_are_undefined() -> None:
    assert set(curve_figures(np.empty(0)).values()) == {None}
    one = curve_figures(np.array([0.01]))
    assert (one["sharpe"], one["volatility"], one["sortino"], one["calmar"]) == (None, None, None, None)
    assert (one["cagr"], one["max_drawdown"]) == (pytest.approx(1.01**252 - 1), 0.0)
    assert curve_figures(np.array([0.01, 0.03]))["sharpe"] == pytest.approx(0.02 / math.sqrt(0.0002) * math.sqrt(252))
    idle = curve_figures(np.zeros(3))
    assert (idle["sharpe"], idle["sortino"], idle["volatility"], idle["calmar"]) == (None, None, 0.0, None)
    assert np.isnan(sharpe_of_each(np.array([[0.01], [0.02]]))).all()
    assert sharpe_of_each(np.array([[0.01, 0.03]])) == pytest.approx([0.02 / math.sqrt(0.0002) * math.sqrt(252)])
    assert curve_figures(np.array([0.5, -1.0, 0.0]))["cagr"] == -1.0


def test_the_figures_of_trades_count_a_trade_without_gain_as_none_won() -> None:
    assert trade_figures(np.array([3.0, 0.001, 0.0, -1.0, -0.001])) == {
        "win_rate": 0.4, "profit_factor": pytest.approx(3.001 / 1.001), "expectancy": pytest.approx(2.0 / 5),
    }  # fmt: skip
    assert trade_figures(np.array([2.0, -0.001]))["profit_factor"] == pytest.approx(2000.0)
    assert trade_figures(np.array([2.0, 0.0]))["profit_factor"] is None
    assert set(trade_figures(np.empty(0)).values()) == {None}


def test_a_window_has_every_figure_in_order() -> None:
    found = all_figures(np.array([110.0, 99.0, 121.0]), np.array([0.5, 0.1, 0.0]), np.array([15.0, 6.0]), 100.0)
    assert tuple(found) == FIGURES
    assert (found["exposure"], found["net_pnl"], found["max_drawdown"]) == (pytest.approx(0.2), 21.0, pytest.approx(-0.1))
    empty = all_figures(np.empty(0), np.empty(0), np.empty(0), 100.0)
    assert (empty["exposure"], empty["net_pnl"], empty["cagr"]) == (None, 0.0, None)


def test_without_a_trade_no_loss_is_the_reason_of_nothing() -> None:
    assert why_undefined("profit_factor", has_trades=False) == "no trade"
    assert why_undefined("profit_factor", has_trades=True) == "no losing trade"
    assert why_undefined("sortino", has_trades=False) == "no losing session"
