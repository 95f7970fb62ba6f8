"""The break-even cost is the one cost at which a Sharpe ratio falls through zero, or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest

from kobe_assets.research.metrics import sharpe
from kobe_assets.research.panel import Floats
from kobe_assets.research.robustness import COST_STEPS_BPS, Rehearsal, break_even_bps


class Declared:
    """A rehearsal whose Sharpe ratio at each cost (bps) is given."""

    def __init__(self, ratio: Callable[[float], float]) -> None:
        self.ratio = ratio

    def out_of_sample(self, slippage_bps: float) -> Floats:
        ratio = self.ratio(slippage_bps)
        return np.zeros(2) if np.isnan(ratio) else 0.01 * (np.array([1.0, -1.0]) + ratio / np.sqrt(126.0))


def found(ratio: Callable[[float], float], known: Callable[[float], bool] = lambda _: True) -> float | None:
    steps = [{"bps": bps, "sharpe": ratio(bps) if known(bps) else None} for bps in COST_STEPS_BPS]
    return break_even_bps(cast(Rehearsal, Declared(ratio)), steps)


def through(points: dict[float, float]) -> Callable[[float], float]:
    return lambda bps: float(np.interp(bps, list(points), list(points.values())))


def test_the_declared_ratio_is_the_ratio_of_its_returns() -> None:
    assert sharpe(Declared(lambda _: -0.7).out_of_sample(5.0)) == pytest.approx(-0.7)


@pytest.mark.parametrize("cost", [-490.0, -120.0, -1.0, 0.5, 7.0, 39.0, 41.0, 333.0, 400.0, 499.0])
def test_a_ratio_that_falls_through_zero_once_breaks_even_there(cost: float) -> None:
    assert found(lambda bps: (cost - bps) / 20.0) == pytest.approx(cost, abs=0.05)
    assert found(lambda bps: np.tanh((cost - bps) / 3.0)) == pytest.approx(cost, abs=0.1)


@pytest.mark.parametrize(
    "points",
    [
        {0.0: -1.0, 5.0: 1.0, 10.0: 2.0, 20.0: 3.0, 40.0: 4.0},
        {0.0: -1.0, 5.0: 1.0, 10.0: 1.0, 20.0: -1.0, 40.0: -2.0},
        {0.0: 1.0, 5.0: -1.0, 10.0: 1.0, 20.0: -1.0, 40.0: -2.0},
        {0.0: 1.0, 5.0: 1.0, 10.0: -1.0, 20.0: -0.5, 40.0: 0.0},
        {0.0: -1.0, 5.0: -1.0, 10.0: -1.0, 20.0: -1.0, 40.0: 0.5},
    ],
)
def test_a_ratio_that_rises_through_zero_anywhere_breaks_even_nowhere(points: dict[float, float]) -> None:
    assert found(through(points)) is None


@pytest.mark.parametrize("ratio", [lambda _: 1.0, lambda _: -1.0, lambda bps: 501.0 - bps, lambda bps: -501.0 - bps])
def test_a_ratio_that_keeps_its_sign_up_to_500_bps_breaks_even_nowhere(ratio: Callable[[float], float]) -> None:
    assert found(ratio) is None


def test_a_ratio_that_is_undefined_at_one_step_is_bracketed_by_the_others() -> None:
    assert found(lambda bps: (7.0 - bps) / 20.0, known=lambda bps: bps != 10.0) == pytest.approx(7.0, abs=0.05)


@pytest.mark.parametrize("undefined", [(60.0, 600.0), (20.5, 25.0), (-50.0, -30.0)])
def test_a_search_that_meets_an_undefined_ratio_finds_no_cost(undefined: tuple[float, float]) -> None:
    cost = {60.0: 100.0, 20.5: 22.0, -50.0: -45.0}[undefined[0]]
    assert found(lambda bps: np.nan if undefined[0] <= bps <= undefined[1] else (cost - bps) / 20.0) is None
