"""Strategies by the name that a person writes, in the settings or on the command line: what the register lacks is refused."""

from __future__ import annotations

import contextlib
from pathlib import Path

from kobe_assets.graph.inputs import parts_of
from kobe_assets.research import strategies
from kobe_assets.research.strategies import STRATEGIES, Strategy, StrategyBroken, StrategyFault
from kobe_assets.research.walk_forward import Part
from kobe_resources.errors import KobeError, UsageError
from kobe_resources.settings.load import load_settings
from kobe_resources.settings.models import Settings

MEND_FILE = "mend that file, or take it out of kobe_assets/research/strategies/__init__.py"


class BadStrategy(KobeError):
    """The declaration of a strategy raised, or its file cannot be imported."""


def bad_strategy(kind: str, words: str) -> BadStrategy | None:
    """A fault of a declaration as an error with its mend, from the error's class and words; None for any other error."""
    mends = {StrategyBroken.__name__: MEND_FILE, StrategyFault.__name__: ""}
    return BadStrategy(words, mends[kind]) if kind in mends else None


def strategy_named(name: str) -> Strategy:
    """The registered strategy. Raises UsageError with the names there are."""
    if name not in STRATEGIES:
        raise UsageError(f"there is no strategy {name!r}", one_of_them())
    return STRATEGIES[name]


def parts_named(settings: Settings, name: str | None = None) -> tuple[Part, ...]:
    """What trades under a name: the book of [portfolio] with its weights, or one strategy alone. name: none for the book.

    Raises UsageError with the names there are.
    """
    if name is None or name == settings.portfolio.book:
        return parts_of(settings)
    return (Part(strategy_named(name), 1.0),)


def one_of_them() -> str:
    """The mend: all names."""
    return f"use one of {', '.join(STRATEGIES)}"


def load_trading_settings() -> Settings:
    """The effective settings, for commands that trade. Raises UsageError as `load_settings`, and on an unknown strategy."""
    settings = load_settings()
    _refuse_unknown(settings)
    return settings


def load_account_settings() -> Settings:
    """The effective settings, for commands that only look after an account.

    No strategy is imported where a file bears the name, and a broken one stops nothing.
    """
    settings = load_settings()
    home = Path(strategies.__file__).parent
    if all(name.isidentifier() and (home / f"{name}.py").is_file() for name in settings.portfolio.strategies):
        return settings
    with contextlib.suppress(StrategyBroken):
        _refuse_unknown(settings)
    return settings


def _refuse_unknown(settings: Settings) -> None:
    for name in settings.portfolio.strategies:
        if name not in STRATEGIES:
            raise UsageError(f"settings: portfolio.strategies names {name!r}, which is no strategy", one_of_them())
