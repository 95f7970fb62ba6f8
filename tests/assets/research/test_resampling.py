"""Drawn histories against a plain loop over the same draws."""

from __future__ import annotations

import numpy as np
import pytest

from kobe_assets.research.resampling import resample

RETURNS = np.array([0.02, -0.01, 0.005, -0.03, 0.04, 0.0, -0.015])


def slowly(seed: int, resamples: int) -> tuple[list[list[float]], list[float]]:
    """(histories of levels from 1 on, worst falls), session by session."""
    rng = np.random.default_rng(seed)
    histories, falls = [], []
    for _ in range(resamples):
        levels = [1.0]
        for _ in RETURNS:
            levels.append(levels[-1] * (1 + RETURNS[int(rng.random() * len(RETURNS))]))
        falls.append(min(level / max(levels[: i + 1]) - 1 for i, level in enumerate(levels)))
        histories.append(levels)
    return histories, falls


def test_histories_are_those_of_the_plain_loop() -> None:
    found = resample(RETURNS, 50, seed=4)
    assert found is not None
    histories, falls = slowly(4, 50)
    assert found.steps.tolist() == list(range(len(RETURNS) + 1))
    assert pytest.approx(np.array(histories), rel=1e-12) == found.levels.T
    assert found.end == pytest.approx(np.array([levels[-1] for levels in histories]), rel=1e-12)
    assert found.worst == pytest.approx(np.array(falls), abs=1e-12)


def test_the_same_seed_gives_the_same_and_the_mean_is_that_of_the_returns() -> None:
    found, again = resample(RETURNS, 4000, seed=1), resample(RETURNS, 4000, seed=1)
    assert found is not None
    assert again is not None
    assert found.end.tolist() == again.end.tolist()
    assert found.end.mean() == pytest.approx((1 + RETURNS.mean()) ** len(RETURNS), abs=4 * found.end.std() / 4000**0.5)


def test_few_points_are_kept_of_a_long_history_its_ends_among_them() -> None:
    found = resample(np.full(1000, 0.001), 3, seed=1, points=10)
    assert found is not None
    assert len(found.steps) == 11
    assert found.levels[-1] == pytest.approx(found.end)
    assert found.levels[0].tolist() == [1.0, 1.0, 1.0]
    assert found.worst.tolist() == [0.0, 0.0, 0.0]


def test_ruin_stays_ruin() -> None:
    found = resample(np.array([-1.0, 0.5]), 20, seed=2)
    assert found is not None
    assert set(np.round(found.worst[found.end == 0.0], 12)) == {-1.0}


def test_without_returns_or_resamples_there_is_nothing() -> None:
    assert resample(np.empty(0), 10, seed=1) is None
    assert resample(RETURNS, 0, seed=1) is None
