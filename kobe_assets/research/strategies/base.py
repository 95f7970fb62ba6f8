"""What a strategy declares: when it wants in, how strong that is, when it wants out, and what its grid tries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kobe_assets.research.panel import Bools, Floats

Params = Mapping[str, float]

SHARED_EXITS = ("atr_stop", "time_stop")
"""Parameters of the exits that strategies take from [strategy]."""
MECHANICAL = (*SHARED_EXITS, "limit_atr")
"""Parameters of exits and entry prices; they change no signal."""


@dataclass(frozen=True)
class Reading:
    """What a strategy may look at after the close of a bar: that close, and indicators as read `lag` bars late.

    Arrays of one shape: prices in adjusted dollars, rsi2 in 0..100, ibs in 0..1; NaN where undefined. NaN compares false,
    so an undefined value never satisfies a condition.
    """

    close: Floats
    rsi2: Floats
    sma200: Floats
    atr14: Floats
    ibs: Floats


Condition = Callable[[Reading, Params], Bools]
Score = Callable[[Reading], Floats]


def never(reading: Reading, _: Params) -> Bools:
    """No bar satisfies this condition."""
    satisfied: Bools = reading.close != reading.close
    return satisfied


@dataclass(frozen=True)
class Strategy:
    """A strategy as a declaration; the kernel, the folds, the report and live trading all read this and nothing else.

    long, short: entry conditions. score_long, score_short: smaller is stronger. leave_long, leave_short: conditions that
    flag a position at the close, named `leave_reason` in the trades. reads: the settings of [strategy] that these
    conditions use. grid: parameter → values, last one fastest. parameters: canonical values of its own parameters.
    """

    name: str
    summary: str
    reads: tuple[str, ...]
    long: Condition
    short: Condition
    score_long: Score
    score_short: Score
    grid: Mapping[str, tuple[float, ...]]
    leave_long: Condition = never
    leave_short: Condition = never
    leave_reason: str = "signal_exit"
    parameters: Mapping[str, float] = field(default_factory=dict)

    def parameter_names(self) -> tuple[str, ...]:
        """Every parameter that means something to this strategy."""
        return (*self.reads, *self.parameters, *SHARED_EXITS)
