"""Strategies by name, each imported when the register is first read, so that a typo in one stops no other command."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from dataclasses import fields, replace
from typing import Any

from kobe_assets.research.strategies.base import Reading, Strategy, never


class StrategyBroken(ImportError):
    """The file of a strategy cannot be imported; `str(error)` is one line: which, where, and why."""


class StrategyFault(Exception):
    """A condition or a score of a strategy raised; `str(error)` is one line: which, where, why, and what it may read."""


class Register(MutableMapping[str, Strategy]):
    """declared: imports and gives them. Reading raises StrategyBroken where it fails: to go on without one of the strategies
    would be to leave its positions alone in silence."""

    def __init__(self, declared: Callable[[], Iterable[Strategy]]) -> None:
        self._declared = declared
        self._found: dict[str, Strategy] | None = None
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> Strategy:
        return self._read()[name]

    def __setitem__(self, name: str, strategy: Strategy) -> None:
        self._read()[name] = guarded(strategy)

    def __delitem__(self, name: str) -> None:
        del self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def _read(self) -> dict[str, Strategy]:
        with self._lock:
            if self._found is None:
                try:
                    self._found = {strategy.name: guarded(strategy) for strategy in self._declared()}
                except Exception as error:
                    # A person's own file may raise anything.
                    words = " ".join(str(error).split())
                    raise StrategyBroken(
                        f"the strategies cannot be imported, see {_place(error)} ({type(error).__name__}: {words})"
                    ) from error
            return self._found


def guarded(strategy: Strategy) -> Strategy:
    """The strategy with every condition and score raising StrategyFault where the declaration raises anything else."""
    functions = {field.name: getattr(strategy, field.name) for field in fields(strategy)}
    # `never` is told by its identity.
    changed: dict[str, Any] = {
        name: _guarded(strategy, getattr(function, "declared", function))
        for name, function in functions.items()
        if callable(function) and function is not never
    }
    return replace(strategy, **changed)


def _guarded(strategy: Strategy, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*given: Any) -> Any:
        try:
            return function(*given)
        except StrategyFault:
            raise
        except Exception as error:
            # A person's own declaration may raise anything. The first frame is ours, the one under it is the declaration's.
            below = error.__traceback__ and error.__traceback__.tb_next
            place = f"{below.tb_frame.f_code.co_filename}:{below.tb_lineno}" if below else __name__
            reads, parameters = ", ".join(field.name for field in fields(Reading)), ", ".join(strategy.parameter_names())
            raise StrategyFault(
                f"the strategy {strategy.name} fails at {place} ({type(error).__name__}: {error}): "
                f"`at` has {reads}; `p` has {parameters}"
            ) from error

    call.declared = function  # type: ignore[attr-defined]
    return call


def _place(error: Exception) -> str:
    """File and line: where it does not parse, else the innermost of our own that ran."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    found, place = error.__traceback__, __package__
    while found is not None:
        file = found.tb_frame.f_code.co_filename
        if not file.startswith("<"):
            place = f"{file}:{found.tb_lineno}"
        found = found.tb_next
    return place
