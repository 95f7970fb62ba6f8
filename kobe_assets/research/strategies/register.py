"""Strategies by name, each imported when the register is first read, so that a typo in one stops no other command."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping

from kobe_assets.research.declared import Indicator, symbols_of
from kobe_assets.research.faults import StrategyBroken, one_line, place_of
from kobe_assets.research.strategies.base import Strategy


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
                    place = place_of(error, __name__)
                    raise StrategyBroken(f"the strategies cannot be imported, see {place} ({one_line(error)})") from error
            return self._found


def joined(known: Mapping[str, Strategy], own: Iterable[Strategy]) -> dict[str, Strategy]:
    """All of them by name. Raises StrategyBroken where a name, or the name of an indicator, is taken by another declaration."""
    found = dict(known)
    for strategy in own:
        if strategy.name in found:
            other = found[strategy.name]
            raise StrategyBroken(
                f"the strategy {strategy.name} at {strategy.place} has a name that is taken by {other.place}: choose another"
            )
        found[strategy.name] = strategy
    columns_of(found.values())
    return found


def symbols_read(strategies: Iterable[Strategy]) -> frozenset[str]:
    """The symbols that the strategies read beside each stock's own bars, by `of()`."""
    return frozenset(name for one in strategies for indicator in one.indicators.values() for name in symbols_of(indicator))


def columns_of(strategies: Iterable[Strategy]) -> dict[str, Indicator]:
    """name → declaration of every indicator that the strategies declare. Raises StrategyBroken where two share a name."""
    found: dict[str, Indicator] = {}
    where: dict[str, str] = {}
    for strategy in strategies:
        for name, indicator in strategy.indicators.items():
            if found.setdefault(name, indicator) != indicator:
                same = str(indicator) == str(found[name])
                mend = "give one of them another name" + ", or import the function from one of the files" * same
                raise StrategyBroken(
                    f"two declarations of the indicator {name}: {indicator} at {strategy.place}, and {found[name]} at"
                    f" {where[name]}: {mend}"
                )
            where.setdefault(name, strategy.place)
    return found
