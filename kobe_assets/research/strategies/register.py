"""Strategies by name, each imported when the register is first read: whoever needs none is not stopped by a typo in one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, MutableMapping

from kobe_assets.research.strategies.base import Strategy


class StrategyBroken(ImportError):
    """The file of a strategy cannot be imported; `str(error)` is one line: which, where, and why."""


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
        self._read()[name] = strategy

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
                    self._found = {strategy.name: strategy for strategy in self._declared()}
                except Exception as error:
                    # A person's own file may raise anything.
                    words = " ".join(str(error).split())
                    raise StrategyBroken(
                        f"the strategies cannot be imported, see {_place(error)} ({type(error).__name__}: {words})"
                    ) from error
            return self._found


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
