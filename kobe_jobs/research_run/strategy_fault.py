"""A fault in the declaration of a strategy, in one line: which strategy, where, and what it may read."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from kobe_assets.research.strategies import STRATEGIES, Reading, Strategy, StrategyBroken
from kobe_resources.errors import KobeError
from kobe_resources.settings.models import PROJECT_ROOT

Frame = tuple[str, int]
"""File and line."""
MEND_FILE = "mend that file, or take it out of kobe_assets/research/strategies/__init__.py"
_PLACE = re.compile(r'File "(.+?)", line (\d+)')


class StrategyFault(KobeError):
    """A condition or a score of a declaration raised, or its file cannot be imported."""


def fault_of(error: BaseException) -> StrategyFault | None:
    """`error` as the fault of the strategy whose code raised it; None where no declaration is in its traceback."""
    if isinstance(error, StrategyBroken):
        return StrategyFault(str(error), MEND_FILE)
    frames = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    return _fault(frames, f"{type(error).__name__}: {error}")


def fault_in(stack: Iterable[str], said: str) -> StrategyFault | None:
    """The same for a traceback that was kept as text. said: the error in words."""
    _, is_broken, words = said.partition(f"{StrategyBroken.__name__}: ")
    if is_broken:
        return StrategyFault(words, MEND_FILE)
    return _fault([(found[1], int(found[2])) for line in stack if (found := _PLACE.search(line))], said)


def _fault(frames: list[Frame], said: str) -> StrategyFault | None:
    try:
        strategies = list(STRATEGIES.values())
    except StrategyBroken:
        # None of them ran.
        return None
    for file, line in reversed(frames):
        for strategy in strategies:
            if (file, line) in _lines_of(strategy):
                place = Path(file)
                shown = place.relative_to(PROJECT_ROOT) if place.is_relative_to(PROJECT_ROOT) else place
                reads = ", ".join(field.name for field in fields(Reading))
                return StrategyFault(
                    f"the strategy {strategy.name} fails at {shown}:{line} ({said})",
                    f"`at` has {reads}; `p` has {', '.join(strategy.parameter_names())}",
                )
    return None


def _lines_of(strategy: Strategy) -> set[Frame]:
    """Every line that its conditions and scores are written on."""
    functions = (getattr(strategy, field.name) for field in fields(strategy))
    codes = (function.__code__ for function in functions if hasattr(function, "__code__"))
    return {(code.co_filename, line) for code in codes for _, _, line in code.co_lines() if line is not None}
