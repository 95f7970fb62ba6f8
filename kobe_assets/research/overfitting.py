"""How much of a Sharpe ratio is luck: PSR, MinTRL, DSR, PBO, bootstrap intervals, and the ratios shown beside them.

Sharpe ratios are per period (not annualised) unless a name says annual; kurtosis is raw (a normal's is 3).
A figure that is undefined is None; every docstring says when. It trusts its caller for finite returns.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np

from kobe_assets.research.metrics import YEAR
from kobe_assets.research.panel import Bools, Floats
from kobe_resources.runtime.jit import njit

EULER_GAMMA = 0.5772156649015329
NORMAL = NormalDist()
PBO_BLOCKS = 16
ROUNDING = 1e-12
"""Sharpe ratios nearer than this are equal, and a variance below this share of the mean square is none."""


@dataclass(frozen=True)
class Moments:
    """Of n returns: the per-period Sharpe ratio (deviation ddof 1), skewness and raw kurtosis (both of the population)."""

    n: int
    sharpe: float
    skew: float
    kurtosis: float


@dataclass(frozen=True)
class Pbo:
    """Probability of backtest overfitting, and the logit of every combination: what its histogram shows."""

    pbo: float
    logits: Floats


def moments(returns: Floats) -> Moments | None:
    """The moments that PSR, MinTRL and DSR ask for; None for fewer than two returns or returns that never vary."""
    n = len(returns)
    if n < 2:
        return None
    mean = float(returns.mean())
    centred = returns - mean
    variance = float(np.mean(centred**2))
    if variance <= ROUNDING * float(np.mean(returns**2)):
        return None
    return Moments(
        n=n,
        sharpe=mean / math.sqrt(variance * n / (n - 1)),
        skew=float(np.mean(centred**3)) / variance**1.5,
        kurtosis=float(np.mean(centred**4)) / variance**2,
    )


def psr(sharpe: float, n: int, skew: float = 0.0, kurtosis: float = 3.0, benchmark: float = 0.0) -> float | None:
    """Probability that the true Sharpe ratio exceeds `benchmark` (Bailey & López de Prado 2012).

    None for n < 2, and where the estimate's variance is not positive (moments that no sample has).
    """
    variance = _sharpe_variance(sharpe, skew, kurtosis)
    if n < 2 or not variance > 0:
        return None
    return NORMAL.cdf((sharpe - benchmark) * math.sqrt(n - 1) / math.sqrt(variance))


def min_track_record_length(
    sharpe: float, skew: float = 0.0, kurtosis: float = 3.0, benchmark: float = 0.0, confidence: float = 0.95
) -> float | None:
    """Returns needed until PSR(benchmark) reaches `confidence` (Bailey & López de Prado 2012).

    None where the Sharpe ratio does not exceed the benchmark: no length is enough.
    """
    variance = _sharpe_variance(sharpe, skew, kurtosis)
    if not sharpe > benchmark or not variance > 0:
        return None
    return 1.0 + variance * (NORMAL.inv_cdf(confidence) / (sharpe - benchmark)) ** 2


def expected_max_sharpe(trials: int, variance: float) -> float | None:
    """The Sharpe ratio that the best of `trials` skill-less tries shows by luck (Bailey & López de Prado 2014).

    variance: of the trials' per-period Sharpe ratios. One trial is no selection: 0. None below one trial or variance 0.
    """
    if trials < 1 or not variance >= 0:
        return None
    if trials == 1:
        return 0.0
    by_luck = (1 - EULER_GAMMA) * NORMAL.inv_cdf(1 - 1 / trials) + EULER_GAMMA * NORMAL.inv_cdf(1 - 1 / (trials * math.e))
    return math.sqrt(variance) * by_luck


def variance_of_tries(sharpe: Floats, since: Any) -> float | None:
    """The variance (ddof 1) of the tries' Sharpe ratios, or what it was before some of them were made, where that was more.

    sharpe: NaN where not known. since: when each was first made; equal ones were made together. Many tries that resemble each
    other draw the variance down faster than their number raises the bar: without its largest value a sweep of one parameter in
    small steps would lift every deflated Sharpe ratio. None for fewer than two that are known.
    """
    known = np.isfinite(sharpe)
    by_then = (sharpe[known & (since <= moment)] for moment in np.unique(since[known]))
    return max((float(some.var(ddof=1)) for some in by_then if len(some) > 1), default=None)


def deflated_sharpe(sharpe: float, n: int, skew: float, kurtosis: float, trials: int, variance: float) -> float | None:
    """Probability that skill is left once `trials` tries are discounted: PSR against `expected_max_sharpe`.

    trials must count every try, kept or not. None where either is.
    """
    benchmark = expected_max_sharpe(trials, variance)
    return None if benchmark is None else psr(sharpe, n, skew, kurtosis, benchmark)


def _sharpe_variance(sharpe: float, skew: float, kurtosis: float) -> float:
    """n - 1 times the variance of an estimated Sharpe ratio."""
    return 1.0 - skew * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2


def probability_of_overfitting(returns: Floats, blocks: int = PBO_BLOCKS) -> Pbo | None:
    """PBO by combinatorially symmetric cross-validation (Bailey, Borwein, López de Prado & Zhu 2017).

    returns: (sessions, trials). Every half of the `blocks` (even) picks its best trial by Sharpe ratio (the first on a tie);
    its rank in the other half (ties: the mean rank) over trials + 1 is ω. PBO is the share of ln(ω/(1−ω)) ≤ 0.
    A trial that does not vary in a half has Sharpe ratio 0 there. None for fewer than two trials that differ, or fewer
    than two sessions a block.
    """
    if blocks < 2 or blocks % 2:
        raise ValueError(f"CSCV needs an even number of blocks, not {blocks}")
    sessions, trials = returns.shape
    if sessions < 2 * blocks or trials < 2 or bool(np.all(returns == returns[:, :1])):
        return None
    halves = _halves(blocks)
    edges = np.array_split(np.arange(sessions), blocks)
    counts = halves @ np.array([len(edge) for edge in edges], dtype=float)
    starts = [edge[0] for edge in edges]
    sharpe = _half_sharpes(
        counts[:, None], halves @ np.add.reduceat(returns, starts), halves @ np.add.reduceat(returns**2, starts)
    )
    # The complement of the i-th combination is the i-th from the end.
    unseen = sharpe[::-1]
    best = np.argmax(sharpe >= sharpe.max(axis=1, keepdims=True) - ROUNDING, axis=1)
    chosen = np.take_along_axis(unseen, best[:, None], axis=1)
    below = np.count_nonzero(unseen < chosen - ROUNDING, axis=1)
    above = np.count_nonzero(unseen > chosen + ROUNDING, axis=1)
    rank = below + (trials - below - above + 1) / 2
    odds = rank / (trials + 1 - rank)
    logits: Floats = np.log(odds)
    return Pbo(float(np.mean(odds <= 1.0)), logits)


@lru_cache(maxsize=4)
def _halves(blocks: int) -> Floats:
    """(combinations, blocks) ones where a block is in the half, in lexicographic order."""
    chosen = np.array(list(itertools.combinations(range(blocks), blocks // 2)))
    halves = np.zeros((len(chosen), blocks))
    np.put_along_axis(halves, chosen, 1.0, axis=1)
    return halves


def _half_sharpes(counts: Floats, sums: Floats, squares: Floats) -> Floats:
    """Sharpe ratios from counts, sums and sums of squares; 0 where the returns do not vary. Overwrites its arguments."""
    sums /= counts
    squares /= counts
    flat = sums * sums
    np.subtract(squares, flat, out=flat)
    idle = flat <= ROUNDING * squares
    flat *= counts / (counts - 1.0)
    flat[idle] = 1.0
    sums[idle] = 0.0
    np.sqrt(flat, out=flat)
    return np.divide(sums, flat, out=sums)


def sharpe_interval(
    returns: Floats, resamples: int = 2000, confidence: float = 0.95, seed: int = 7, block: float | None = None
) -> tuple[float, float] | None:
    """Percentile interval of the annual Sharpe ratio by the stationary bootstrap (Politis & Romano 1994).

    block: mean block length in sessions; none: `optimal_block`. The same seed gives the same interval. Resamples that never
    vary are left out. None for fewer than two returns, returns that never vary, or no resample that does.
    """
    if moments(returns) is None:
        return None
    new_block = 1.0 / max(optimal_block(returns) if block is None else block, 1.0)
    found = _resampled_sharpes(np.random.default_rng(seed), np.ascontiguousarray(returns), new_block, resamples)
    found = found[np.isfinite(found)]
    if not len(found):
        return None
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(found, [tail, 1.0 - tail]) * math.sqrt(YEAR)
    return float(low), float(high)


@njit
def _resampled_sharpes(rng: np.random.Generator, returns: Floats, new_block: float, resamples: int) -> Floats:
    """(resamples) per-period Sharpe ratios of stationary resamples, NaN where one does not vary."""
    n = len(returns)
    sharpes = np.empty(resamples)
    for resample in range(resamples):
        total = squares = 0.0
        place = min(int(rng.random() * n), n - 1)
        for i in range(n):
            if i > 0:
                draw = rng.random()
                # Given that a block begins, draw / new_block is uniform again and says where.
                place = min(int(draw / new_block * n), n - 1) if draw < new_block else place + 1
                if place == n:
                    place = 0
            total += returns[place]
            squares += returns[place] ** 2
        mean = total / n
        variance = squares / n - mean * mean
        sharpes[resample] = mean / math.sqrt(variance * n / (n - 1)) if variance > ROUNDING * squares / n else np.nan
    return sharpes


def optimal_block(returns: Floats) -> float:
    """Mean block length (sessions, ≥ 1) for the stationary bootstrap (Politis & White 2004, corrected by Patton et al. 2009).

    1 where the returns do not vary: independent draws.
    """
    n = len(returns)
    centred = returns - returns.mean()
    variance = float(centred @ centred) / n
    if n < 3 or variance <= 0.0:
        return 1.0
    quiet_lags = max(5, int(math.sqrt(math.log10(n))))
    longest = min(math.ceil(math.sqrt(n)) + quiet_lags, n - 1)
    covariance = np.array([float(centred[: n - lag] @ centred[lag:]) / n for lag in range(longest + 1)])
    loud = np.abs(covariance[1:] / variance) >= 2.0 * math.sqrt(math.log10(n) / n)
    bandwidth = min(2 * max(_last_loud_lag(loud, quiet_lags), 1), longest)
    lags = np.arange(1, bandwidth + 1)
    # The flat-top window: 1 up to half the bandwidth, then down to 0.
    weight = np.minimum(1.0, 2.0 * (1.0 - lags / bandwidth))
    curvature = float(2.0 * np.sum(weight * lags * covariance[lags]))
    spectrum = float(variance + 2.0 * np.sum(weight * covariance[lags]))
    if spectrum <= 0.0:
        return 1.0
    length = (curvature**2 / spectrum**2) ** (1.0 / 3.0) * n ** (1.0 / 3.0)
    return float(min(max(length, 1.0), math.ceil(min(3.0 * math.sqrt(n), n / 3.0))))


def _last_loud_lag(loud: Bools, quiet_lags: int) -> int:
    """The lag after which `quiet_lags` autocorrelations in a row are insignificant; the last significant one otherwise."""
    run = 0
    for index, significant in enumerate(loud):
        run = 0 if significant else run + 1
        if run == quiet_lags:
            return index + 1 - quiet_lags
    return int(np.flatnonzero(loud)[-1]) + 1 if loud.any() else 0


def walk_forward_efficiency(unseen_annual: float | None, trained_annual: float | None) -> float | None:
    """Annual out-of-sample return over annual in-sample return (Pardo 2008); None where the latter is not positive."""
    if unseen_annual is None or trained_annual is None or not trained_annual > 0:
        return None
    return unseen_annual / trained_annual


def sqn(pnl: Floats, initial_risk: Floats) -> float | None:
    """System quality number: √N · mean(R) / std(R) of R = pnl / initial risk (Tharp), deviation ddof 1.

    initial_risk: dollars between entry and stop, positive. None for fewer than two trades or an R that never varies.
    """
    found = moments(pnl / initial_risk) if len(pnl) else None
    return None if found is None else math.sqrt(found.n) * found.sharpe


def turnover(traded_notional: float, equity: Floats) -> float | None:
    """How often a year the equity is bought and sold: Σ|traded notional| / (2 · mean equity) · 252/n.

    traded_notional: dollars of all fills, entries and exits. None without sessions or with a mean equity not above 0.
    """
    n = len(equity)
    if n == 0 or not float(equity.mean()) > 0:
        return None
    return traded_notional / (2.0 * float(equity.mean())) * YEAR / n
