"""The overfitting figures against the papers' own numbers, a plain second writing of each, and ffn."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kobe_assets.research.overfitting import (
    deflated_sharpe,
    expected_max_sharpe,
    min_track_record_length,
    moments,
    optimal_block,
    probability_of_overfitting,
    psr,
    sharpe_interval,
    sqn,
    turnover,
    variance_of_tries,
    walk_forward_efficiency,
)


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.01, shape)


def autoregressive(seed: int, n: int, phi: float) -> np.ndarray:
    values = np.zeros(n)
    for i, shock in enumerate(noise(seed, n)):
        values[i] = (phi * values[i - 1] if i else 0.0) + shock
    return values


def test_moments_are_the_sample_sharpe_and_the_population_skew_and_raw_kurtosis() -> None:
    found = moments(np.array([0.01, 0.02, -0.03, 0.04, -0.01]))
    assert found is not None
    assert found.n == 5
    assert found.sharpe == pytest.approx(0.006 / statistics.stdev([0.01, 0.02, -0.03, 0.04, -0.01]))
    # Deviations in hundredths .4 1.4 -3.6 3.4 -1.6: squares sum to 29.2, cubes to -8.64, fourth powers to 312.016.
    assert found.skew == pytest.approx(-8.64 / 5 / (29.2 / 5) ** 1.5)
    assert found.kurtosis == pytest.approx(312.016 / 5 / (29.2 / 5) ** 2)
    normal = moments(noise(1, 200_000))
    assert normal is not None
    assert normal.kurtosis == pytest.approx(3.0, abs=0.05)


@pytest.mark.parametrize("values", [[], [0.01], [0.0, 0.0, 0.0], [0.1] * 7])
def test_moments_need_two_returns_that_differ(values: list[float]) -> None:
    assert moments(np.array(values)) is None


def test_psr_gives_the_numbers_of_the_paper() -> None:
    assert round(psr(0.458, 24, -2.448, 10.164) or 0, 3) == 0.913
    assert round(psr(0.458, 24) or 0, 3) == 0.982
    assert psr(0.1, 100, benchmark=0.1) == pytest.approx(0.5)


def test_psr_is_undefined_for_one_return_and_for_moments_that_cannot_be() -> None:
    assert psr(0.5, 1) is None
    assert psr(2.0, 100, skew=5.0, kurtosis=1.0) is None


@pytest.mark.parametrize(("annual", "years"), [(0.5, 10.83), (1.0, 2.71), (2.0, 0.69)])
def test_minimum_track_record_gives_the_numbers_of_the_paper(annual: float, years: float) -> None:
    returns = min_track_record_length(annual / math.sqrt(252))
    assert returns is not None
    assert round(returns / 252, 2) == years


def test_at_the_minimum_track_record_psr_reaches_its_confidence() -> None:
    length = min_track_record_length(0.1, -1.0, 6.0, benchmark=0.02, confidence=0.9)
    assert length is not None
    # n enters PSR as n - 1 and the length is no whole number: interpolate between its neighbours.
    below, above = (psr(0.1, n, -1.0, 6.0, benchmark=0.02) for n in (math.floor(length), math.ceil(length)))
    assert below is not None
    assert above is not None
    assert below < 0.9 <= above


def test_no_track_record_is_long_enough_for_a_sharpe_below_its_benchmark() -> None:
    assert min_track_record_length(0.05, benchmark=0.05) is None
    assert min_track_record_length(-0.1) is None


def test_deflated_sharpe_gives_the_numbers_of_the_paper() -> None:
    assert round(expected_max_sharpe(100, 0.5 / 250) or 0, 4) == 0.1132
    assert round(deflated_sharpe(2.5 / math.sqrt(250), 1250, -3.0, 10.0, 100, 0.5 / 250) or 0, 4) == 0.9004


def test_one_trial_is_no_selection_and_more_trials_deflate_more() -> None:
    assert expected_max_sharpe(1, 0.01) == 0.0
    assert deflated_sharpe(0.1, 500, 0.0, 3.0, 1, 0.01) == psr(0.1, 500)
    few, many = (deflated_sharpe(0.1, 500, 0.0, 3.0, trials, 0.002) for trials in (10, 1000))
    assert few is not None
    assert many is not None
    assert many < few < (psr(0.1, 500) or 0)


@given(
    st.lists(st.tuples(st.floats(-0.3, 0.3), st.integers(0, 9)), min_size=2, max_size=30),
    st.lists(st.one_of(st.floats(-0.3, 0.3), st.just(math.nan)), min_size=1, max_size=30),
)
def test_more_tries_never_raise_the_deflated_sharpe(made: list[tuple[float, int]], later: list[float]) -> None:
    sharpe, since = np.array([one for one, _ in made]), np.array([moment for _, moment in made])
    more, then = np.append(sharpe, later), np.append(since, np.full(len(later), 10))
    before, after = variance_of_tries(sharpe, since), variance_of_tries(more, then)
    assert before is not None
    assert after is not None
    few, many = (deflated_sharpe(0.1, 500, 0.0, 3.0, n, v) for n, v in ((len(sharpe), before), (len(more), after)))
    assert few is not None
    assert many is not None
    assert many <= few + 1e-12


def test_the_variance_of_tries_that_were_made_together_is_the_plain_one() -> None:
    tried = np.array([0.1, np.nan, -0.05, 0.2])
    assert variance_of_tries(tried, np.zeros(4)) == float(tried[[0, 2, 3]].var(ddof=1))
    assert variance_of_tries(np.append(tried, [0.08] * 50), np.append(np.zeros(4), np.ones(50))) == variance_of_tries(
        tried, np.zeros(4)
    )
    assert variance_of_tries(np.array([0.1, np.nan]), np.zeros(2)) is None


def test_without_trials_or_with_a_variance_that_is_none_the_deflated_sharpe_is_undefined() -> None:
    assert expected_max_sharpe(0, 0.01) is None
    assert expected_max_sharpe(5, math.nan) is None
    assert deflated_sharpe(0.1, 500, 0.0, 3.0, 5, -1.0) is None


def test_ffn_agrees_on_the_expected_maximum_and_the_deflated_sharpe() -> None:
    import ffn

    for trials, variance in ((2, 0.01), (27, 0.002), (5000, 1e-4)):
        assert expected_max_sharpe(trials, variance) == pytest.approx(
            ffn.core.calc_expected_max_sharpe(trials, math.sqrt(variance)), rel=1e-12
        )
    returns = noise(3, 2500) + 0.0008
    tried = np.random.default_rng(4).normal(0.0, 0.02, 50)
    found = moments(returns)
    assert found is not None
    ours = deflated_sharpe(found.sharpe, found.n, found.skew, found.kurtosis, 50, float(tried.var(ddof=1)))
    theirs = ffn.core.calc_deflated_sharpe_ratio(pd.Series(returns), tried, nperiods=252, annualized_trials=False)
    # ffn takes bias-corrected skew and kurtosis; over 2500 returns that is the fourth digit.
    assert ours == pytest.approx(theirs, abs=2e-4)


def plain_cscv(returns: np.ndarray, blocks: int) -> list[float]:
    """The logits, one combination at a time, from the returns themselves."""
    parts = np.array_split(returns, blocks)
    logits = []
    for chosen in itertools.combinations(range(blocks), blocks // 2):
        inside = np.concatenate([parts[i] for i in chosen])
        outside = np.concatenate([parts[i] for i in range(blocks) if i not in chosen])
        trained, unseen = (half.mean(axis=0) / half.std(axis=0, ddof=1) for half in (inside, outside))
        winner = unseen[int(np.argmax(trained))]
        rank = 1 + sum(winner > other for other in unseen)
        omega = rank / (returns.shape[1] + 1)
        logits.append(math.log(omega / (1 - omega)))
    return logits


@pytest.mark.parametrize(("sessions", "trials", "blocks"), [(400, 12, 8), (403, 7, 6), (37, 3, 4), (95, 30, 8)])
def test_pbo_equals_a_plain_cscv_with_no_session_dropped(sessions: int, trials: int, blocks: int) -> None:
    returns = noise(sessions, sessions, trials)
    found = probability_of_overfitting(returns, blocks)
    assert found is not None
    expected = plain_cscv(returns, blocks)
    np.testing.assert_allclose(found.logits, expected, atol=1e-12)
    assert found.pbo == np.mean(np.array(expected) <= 0)


def test_ffn_agrees_on_pbo() -> None:
    import ffn

    returns = noise(11, 320, 9) + np.linspace(0, 0.001, 9)
    theirs = ffn.core.calc_prob_backtest_overfitting(pd.DataFrame(returns), n_blocks=8, full_output=True)
    found = probability_of_overfitting(returns, 8)
    assert found is not None
    assert found.pbo == theirs["pbo"]
    np.testing.assert_allclose(found.logits, theirs["logits"], atol=1e-12)


def test_pbo_of_noise_scatters_around_a_half_and_of_a_real_edge_is_nothing() -> None:
    found = [probability_of_overfitting(noise(seed, 640, 20)) for seed in range(40)]
    values = [x.pbo for x in found if x is not None]
    assert len(values) == 40
    assert len(found[0].logits if found[0] else []) == 12_870
    assert np.mean(values) == pytest.approx(0.5, abs=0.08)
    assert np.std(values) == pytest.approx(0.17, abs=0.05)
    edge = noise(1, 640, 20)
    edge[:, 5] += 0.01
    real = probability_of_overfitting(edge)
    assert real is not None
    assert real.pbo < 0.001


def test_pbo_of_a_trial_that_wins_only_by_one_lucky_block_is_high() -> None:
    returns = noise(2, 640, 10)
    for trial in range(10):
        returns[40 * trial : 40 * trial + 40, trial] += 0.05
    found = probability_of_overfitting(returns)
    assert found is not None
    assert found.pbo > 0.8


def test_equal_trials_share_their_mean_rank_and_idle_ones_have_sharpe_0() -> None:
    base = noise(5, 64, 1) + 0.02
    twins = np.hstack([base, base, base - 0.5])
    found = probability_of_overfitting(twins, 4)
    assert found is not None
    np.testing.assert_allclose(found.logits, math.log(2.5 / 1.5))
    idle = np.hstack([np.zeros((64, 1)), base - 0.5])
    beaten = probability_of_overfitting(idle, 4)
    assert beaten is not None
    np.testing.assert_allclose(beaten.logits, math.log(2.0))
    # A trial that gains much in one half and a third of its swing in the other beats it in both.
    gaining = noise(5, 64, 1) + np.repeat([0.02, 0.003], 32)[:, None]
    beating = probability_of_overfitting(np.hstack([np.zeros((64, 1)), gaining]), 4)
    assert beating is not None
    np.testing.assert_allclose(beating.logits, math.log(2.0))


@pytest.mark.parametrize("returns", [noise(1, 100, 1), np.tile(noise(1, 100, 1), 4), noise(1, 31, 5), np.zeros((100, 5))])
def test_pbo_is_undefined_without_two_trials_that_differ_or_two_sessions_a_block(returns: np.ndarray) -> None:
    assert probability_of_overfitting(returns) is None


def test_pbo_refuses_an_odd_number_of_blocks() -> None:
    with pytest.raises(ValueError, match="even number of blocks"):
        probability_of_overfitting(noise(1, 100, 5), 15)


def test_the_bootstrap_interval_holds_the_sharpe_and_narrows_with_the_root_of_n() -> None:
    short, long = noise(8, 500) + 0.0005, np.tile(noise(8, 500) + 0.0005, 4)
    intervals = [sharpe_interval(x, block=5.0) for x in (short, long)]
    sharpes = [float(x.mean() / x.std(ddof=1)) * math.sqrt(252) for x in (short, long)]
    widths = []
    for interval, sharpe in zip(intervals, sharpes, strict=True):
        assert interval is not None
        assert interval[0] < sharpe < interval[1]
        widths.append(interval[1] - interval[0])
    # An i.i.d. Sharpe ratio's standard error is sqrt(252 / n) a year.
    assert widths[0] == pytest.approx(2 * 1.96 * math.sqrt(252 / 500), rel=0.1)
    assert widths[0] / widths[1] == pytest.approx(2.0, rel=0.1)


def test_the_bootstrap_interval_covers_the_truth_about_19_times_in_20() -> None:
    true = 0.0004 / 0.01 * math.sqrt(252)
    covered = 0
    for seed in range(200):
        interval = sharpe_interval(noise(seed, 500) + 0.0004, resamples=300, seed=seed)
        assert interval is not None
        covered += interval[0] <= true <= interval[1]
    assert 180 <= covered <= 198


def test_the_bootstrap_interval_widens_where_returns_hang_together_and_repeats_for_a_seed() -> None:
    returns = autoregressive(9, 2000, 0.5)
    apart, together = (sharpe_interval(returns, block=block) for block in (1.0, 10.0))
    assert apart is not None
    assert together is not None
    # Politis & Romano's own formula for the variance of a resampled mean, from circular autocovariances.
    centred, lags = returns - returns.mean(), np.arange(1, 2000)
    covariance = np.array([centred @ np.roll(centred, -lag) for lag in range(2000)])
    longer = 1 + 2 * np.sum((1 - lags / 2000) * 0.9**lags * covariance[1:]) / covariance[0]
    assert longer > 2.0
    assert (together[1] - together[0]) / (apart[1] - apart[0]) == pytest.approx(math.sqrt(longer), rel=0.05)
    together = sharpe_interval(returns)
    assert sharpe_interval(returns) == together
    assert sharpe_interval(returns, seed=8) != together


@pytest.mark.parametrize("values", [[], [0.01], [0.0] * 50])
def test_the_bootstrap_interval_is_undefined_where_the_sharpe_is(values: list[float]) -> None:
    assert sharpe_interval(np.array(values)) is None


def test_the_optimal_block_follows_the_theory_and_the_numbers_of_arch() -> None:
    # For an AR(1) the optimum is (2φ/(1−φ²))^(2/3) · n^(1/3).
    lengths = [optimal_block(autoregressive(seed, 4000, 0.5)) for seed in range(20)]
    assert np.mean(lengths) == pytest.approx((1 / 0.75) ** (2 / 3) * 4000 ** (1 / 3), rel=0.1)
    # arch 8.0.0, optimal_block_length, on the same series.
    assert optimal_block(np.cumsum(np.random.default_rng(1).normal(0, 0.01, 2268))) == pytest.approx(97.39717532, rel=1e-8)
    assert optimal_block(np.random.default_rng(0).normal(0.0005, 0.01, 2268)[:30]) == pytest.approx(1.40084543, rel=1e-8)
    assert optimal_block(noise(1, 2000)) < 3.0
    assert optimal_block(np.zeros(100)) == 1.0
    assert optimal_block(np.array([0.1, 0.2])) == 1.0


def test_walk_forward_efficiency_needs_a_gain_in_sample() -> None:
    assert walk_forward_efficiency(0.06, 0.12) == 0.5
    assert walk_forward_efficiency(-0.03, 0.12) == -0.25
    assert walk_forward_efficiency(0.06, 0.0) is None
    assert walk_forward_efficiency(None, 0.1) is None
    assert walk_forward_efficiency(0.1, None) is None


def test_sqn_is_the_t_value_of_r() -> None:
    r = [1.0, -1.0, 2.0, 0.5]
    expected = 2.0 * statistics.mean(r) / statistics.stdev(r)
    assert sqn(np.array([10.0, -20.0, 60.0, 5.0]), np.array([10.0, 20.0, 30.0, 10.0])) == pytest.approx(expected)
    assert sqn(np.array([1.0]), np.array([1.0])) is None
    assert sqn(np.array([]), np.array([])) is None
    assert sqn(np.array([2.0, 4.0]), np.array([1.0, 2.0])) is None


def test_turnover_of_one_round_trip_of_the_whole_equity_in_a_year_is_1() -> None:
    assert turnover(2000.0, np.full(252, 1000.0)) == pytest.approx(1.0)
    assert turnover(2000.0, np.full(126, 1000.0)) == pytest.approx(2.0)
    assert turnover(0.0, np.array([])) is None
    assert turnover(10.0, np.array([-1.0, 1.0])) is None
