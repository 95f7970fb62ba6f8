"""What a strategy declares: what it reads, when it wants in, how strong that is, when it wants out, and what its grid tries."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from functools import reduce
from itertools import islice
from typing import Any

import numpy as np

from kobe_assets.research.declared import CANONICAL, Indicator, is_number, read_only
from kobe_assets.research.faults import BadDeclaration, declared_at
from kobe_assets.research.panel import Bools, Floats

Params = Mapping[str, float]

MECHANICAL = ("atr_stop", "time_stop", "limit_atr")
"""Parameters of exits and entry prices; they change no signal."""
MOST_SETS = 50_000
"""Parameter sets of a grid: more would take hours, and make any result luck."""
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
"""What is said of a value that a grid names again."""
TAKEN = ("portfolio", "universe", "data", "report", "tries")
"""What books and evidence are called that belong to no strategy."""
OTHER_EXITS = ("stop", "time_stop", "suspect", "delisted", "window_end", "ruin")
"""What trades call the exits that no condition asked for (rules, section 4)."""
NOT_INDICATORS = (
    "symbol",
    "session",
    "listing",
    "close",
    "factor",
    "values",
    "strategy",
    "side",
    "score",
    "raw_close",
    "stop_distance",
    "read",
    "defined",
    "forget",
)
"""Names that stand for something else, at `at` or in a table."""


class Reading:
    """What a strategy may look at after the close of a bar: `close`, and its declared indicators as read `lag` bars late.

    Read-only arrays of one shape; NaN where undefined. It remembers what was read, since a condition holds only where all that
    it read is defined.
    """

    def __init__(
        self, close: Floats, columns: Mapping[str, Floats], known: Mapping[str, Bools] | None = None, among: Bools | None = None
    ) -> None:
        """known: where each column is defined; looked up here without. among: the only bars at which anything is defined."""
        self._columns = {"close": close, **columns}
        self._known = known if known is not None else {name: ~np.isnan(values) for name, values in columns.items()}
        self._among = [] if among is None else [among]
        self._read: set[str] = set()
        self._defined: dict[frozenset[str], Bools] = {}

    def __getattr__(self, name: str) -> Floats:
        if name.startswith("_") or name not in self._columns:
            raise AttributeError(f"`at` has no {name!r}")
        self._read.add(name)
        values: Floats = read_only(self._columns[name])
        return values

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse another value for what is read: every later condition and parameter set would be asked with it."""
        if not name.startswith("_"):
            raise AttributeError(f"`at` is only read: name the new values {name} alone, without `at`")
        super().__setattr__(name, value)

    def __len__(self) -> int:
        return len(self._columns["close"])

    def forget(self) -> None:
        """Begin anew to remember what is read."""
        self._read = set()

    @property
    def read(self) -> frozenset[str]:
        """The indicators that were read since."""
        return frozenset(self._read) - {"close"}

    def defined(self, names: frozenset[str]) -> Bools:
        """Where all these indicators are defined."""
        if names not in self._defined:
            masks = [*self._among, *(self._known[name] for name in names)] or [np.ones(len(self), np.bool_)]
            self._defined[names] = reduce(np.logical_and, masks)
        return self._defined[names]


class Noted(Mapping[str, float]):
    """Parameters that remember which of them were asked for: those that differ in others only have the same answer."""

    def __init__(self, params: Params) -> None:
        self._params = params
        self._asked: set[str] = set()

    def __getitem__(self, name: str) -> float:
        self._asked.add(name)
        return self._params[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._params)

    def __len__(self) -> int:
        return len(self._params)

    def __or__(self, other: Params) -> dict[str, float]:
        return {**self, **other}

    def __ror__(self, other: Params) -> dict[str, float]:
        return {**other, **self}

    def copy(self) -> dict[str, float]:
        """A plain table of all of them."""
        return {**self}

    def answers(self, other: Params) -> bool:
        """Whether what was asked is the same in `other`."""
        return all(self._params.get(name) == other.get(name) for name in self._asked)


Condition = Callable[[Any, Params], Bools]
Score = Callable[[Any], Floats]


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """A strategy as a declaration; the kernel, the folds, the report and live trading all read this and nothing else.

    indicators: name → declaration, in the words of `language`. parameters: canonical values; `atr_stop` and `limit_atr` are
    the multiples of the indicators that `stop` and `limit` name, `time_stop` the bars after which a position leaves. long,
    short: entry conditions, of which one may be None. score_long, score_short: smaller is stronger. leave_long, leave_short:
    conditions that flag a position at the close, named `leave_reason` in the trades. grid: parameter → values, last one
    fastest. Raises BadDeclaration.
    """

    name: str
    summary: str
    indicators: Mapping[str, Indicator]
    parameters: Mapping[str, float] = field(default_factory=dict)
    long: Condition | None = None
    short: Condition | None = None
    score_long: Score | None = None
    score_short: Score | None = None
    leave_long: Condition | None = None
    leave_short: Condition | None = None
    leave_reason: str = "signal_exit"
    stop: str | None = None
    limit: str | None = None
    grid: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    place: str = field(init=False, compare=False, repr=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "place", declared_at())
        for what in ("parameters", "grid"):
            object.__setattr__(self, what, _plain(getattr(self, what)))
        for problem in _problems(self):
            raise BadDeclaration(f"the strategy {self.name}: {problem}", self.place)

    @property
    def file(self) -> str:
        """The file that declares it."""
        return self.place.rpartition(":")[0]


def _plain(values: Any) -> Any:
    """The same with numbers of Python and lists that can be read twice; what makes no sense is left for the refusal.

    Of more values than sets are tried one too many is read: a range may have more than the memory holds, or no end.
    """
    if isinstance(values, Mapping):
        return {name: _plain(value) for name, value in values.items()}
    if isinstance(values, np.integer | np.floating):
        return values.item()
    if isinstance(values, str | bytes | Set) or not isinstance(values, Iterable):
        return values
    return tuple(_plain(value) for value in islice(values, MOST_SETS + 1))


def _problems(strategy: Strategy) -> Any:
    """What is wrong with a declaration, each with its mend."""
    if not (isinstance(strategy.name, str) and NAME.fullmatch(strategy.name)):
        yield f"a name is small letters, digits and _, at most 40, and not {strategy.name!r}"
    if strategy.name in TAKEN:
        yield f"{strategy.name} is the name of something else; choose another"
    if not isinstance(strategy.summary, str):
        yield f"summary is {strategy.summary!r} and no text"
    if not (isinstance(strategy.leave_reason, str) and NAME.fullmatch(strategy.leave_reason)):
        yield f"leave_reason is small letters, digits and _, and not {strategy.leave_reason!r}"
    elif strategy.leave_reason in OTHER_EXITS:
        yield f"leave_reason={strategy.leave_reason!r} is what another exit is called; choose another"
    for what in ("indicators", "parameters", "grid"):
        if not isinstance(getattr(strategy, what), Mapping):
            yield f"{what} is no table; write {what}={{…}}"
    yield from _bad_indicators(strategy)
    yield from _bad_functions(strategy)
    yield from _bad_parameters(strategy)


def _bad_indicators(strategy: Strategy) -> Any:
    for name, indicator in strategy.indicators.items():
        if not (isinstance(name, str) and NAME.fullmatch(name)) or name in NOT_INDICATORS:
            yield f"no indicator can be called {name!r}; use small letters, digits and _, and not {', '.join(NOT_INDICATORS)}"
        if not isinstance(indicator, Indicator):
            yield f'the indicator {name} is {indicator!r}; declare it as rsi(2), talib("ADX", timeperiod=14), custom(function)'
            continue
        if name in CANONICAL.values() and CANONICAL.get(indicator.words) != name:
            canonical = next(words for words, own in CANONICAL.items() if own == name)
            yield f"two declarations of the indicator {name}: {indicator}, and {canonical} everywhere; give it another name"
    for what in ("stop", "limit"):
        named = getattr(strategy, what)
        if isinstance(named, Indicator):
            yield f'{what}={named} is an indicator; declare it among the indicators, and give its name, {what}="…"'
        elif named is not None and named not in strategy.indicators:
            yield f"{what}={named!r} names no indicator of its own; declare it among the indicators"


def _bad_functions(strategy: Strategy) -> Any:
    if strategy.long is None and strategy.short is None:
        yield "it has neither long nor short; give one of them a condition"
    for what in ("long", "short", "score_long", "score_short", "leave_long", "leave_short"):
        function = getattr(strategy, what)
        if function is not None and not callable(function):
            arguments = "at" if what.startswith("score") else "at, p"
            yield f"{what} is no function; write {what}=lambda {arguments}: …"
    for side in ("long", "short"):
        if getattr(strategy, side) is not None and getattr(strategy, f"score_{side}") is None:
            yield f"{side} has no score_{side}; say which signal comes first, score_{side}=lambda at: … (smaller is stronger)"


def _bad_parameters(strategy: Strategy) -> Any:
    for name, value in strategy.parameters.items():
        if not (isinstance(name, str) and name.isidentifier()):
            yield f"no parameter can be called {name!r}; give it a name of letters, digits and _"
        elif not is_number(value):
            yield f"the parameter {name} is {value!r}, which is no number"
        elif why := refused_value(name, float(value)):
            yield f"the parameter {name} = {value:g}: {why}"
    for level, multiple in (("stop", "atr_stop"), ("limit", "limit_atr")):
        if getattr(strategy, level) is not None and multiple not in strategy.parameters:
            yield f"{level}={getattr(strategy, level)!r} without the parameter {multiple}; add {multiple}, how many of it"
        if getattr(strategy, level) is None and multiple in strategy.parameters:
            yield f"the parameter {multiple} without {level}=; name the indicator whose multiple it is, or take it out"
    for name, values in strategy.grid.items():
        if name not in strategy.parameters:
            yield f"the grid varies {name}, which is no parameter; it has {', '.join(sorted(strategy.parameters)) or 'none'}"
        elif why := bad_values(name, values):
            yield f"the grid of {name}: {why}"
    if why := too_many_sets(strategy.grid):
        yield f"the grid: {why}"


def bad_values(name: str, values: Any) -> str:
    """Why a list of values of a parameter makes no grid; empty where it does."""
    if isinstance(values, str | Mapping | Set) or not hasattr(values, "__len__") or not len(values):
        return "give a list of numbers"
    if len(values) > MOST_SETS:
        return f"more than {MOST_SETS:,} values, and at most so many sets are tried; give fewer"
    seen = set[float]()
    for value in values:
        if not is_number(value):
            return f"{value!r} is no number"
        if value in seen:
            return f"{value:g} stands in it twice; take one out"
        seen.add(value)
        if why := refused_value(name, float(value)):
            return f"{value:g}: {why}"
    return ""


def too_many_sets(grid: Mapping[str, Any]) -> str:
    """Why a grid has more sets than are tried; empty where it has not."""
    sets = math.prod(len(values) for values in grid.values() if hasattr(values, "__len__"))
    return f"it makes {sets:,} sets, and at most {MOST_SETS:,} are tried; vary fewer parameters" if sets > MOST_SETS else ""


def refused_value(name: str, value: float) -> str:
    """Why a parameter cannot have a value; empty where it can. Only those that the kernel reads itself are bounded."""
    if name == "time_stop" and (value != int(value) or value < 1):
        return "give whole bars, 1 or more"
    if name == "atr_stop" and not value > 0:
        return "give a number above 0"
    if name == "limit_atr" and value < 0:
        return "give a number of at least 0"
    return ""
