"""Resampling of a result: entry sessions drawn with replacement, for what else the same trades could have come to.

Trades entered at one open share that day's luck, so they are drawn together. It trusts its caller for returns above -1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kobe_assets.research.panel import Floats, Ints
from kobe_resources.runtime.jit import njit


@dataclass(frozen=True)
class Resampled:
    """Drawn histories, as many entry sessions long as the real one.

    steps: (points) entry sessions gone, 0 first. levels: (points, resamples) wealth, of 1, after so many. end: (resamples)
    wealth at the end. worst: (resamples) the deepest fall from a peak, at most 0.
    """

    steps: Ints
    levels: Floats
    end: Floats
    worst: Floats


def resample(returns: Floats, resamples: int, seed: int, points: int = 100) -> Resampled | None:
    """Histories of `returns` (one an entry session) drawn with replacement and compounded; None without returns or resamples.

    The same seed gives the same histories. points: how many levels of a history are kept, at most.
    """
    if not len(returns) or not resamples:
        return None
    steps = np.unique(np.linspace(0, len(returns), min(points, len(returns)) + 1).round().astype(np.int64))
    levels, end, worst = np.empty((len(steps), resamples)), np.empty(resamples), np.empty(resamples)
    _histories(np.random.default_rng(seed), np.ascontiguousarray(returns), steps, levels, end, worst)
    return Resampled(steps, levels, end, worst)


@njit
def _histories(rng: np.random.Generator, returns: Floats, steps: Ints, levels: Floats, end: Floats, worst: Floats) -> None:
    n = len(returns)
    for k in range(len(end)):
        level, peak, deepest, at = 1.0, 1.0, 0.0, 0
        for i in range(n + 1):
            if i > 0:
                level *= 1.0 + returns[min(int(rng.random() * n), n - 1)]
                peak = max(peak, level)
                deepest = min(deepest, level / peak - 1.0)
            if steps[at] == i:
                levels[at, k] = level
                at = min(at + 1, len(steps) - 1)
        end[k], worst[k] = level, deepest
