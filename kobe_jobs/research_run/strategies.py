"""Strategies by the name that a person writes, in the settings or on the command line: what the register lacks is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kobe_assets.graph.inputs import parts_of, registered
from kobe_assets.graph.own_strategies import no_strategy, strategies_of
from kobe_assets.research.strategies import BUILT_IN, STRATEGIES, Strategy, StrategyBroken, StrategyFault
from kobe_assets.research.walk_forward import Part
from kobe_resources.errors import KobeError, UsageError, did_you_mean
from kobe_resources.settings.load import load_settings
from kobe_resources.settings.models import Settings

MEND_FILE = "mend it, or move its file out of the folder of strategies"
MEND_LEAK = "read earlier bars only, and nothing random"


class BadStrategy(KobeError):
    """The declaration of a strategy raised, or its file cannot be imported."""


class ReadsTheFuture(KobeError):
    """A strategy's past changes with its future."""


def bad_strategy(kind: str, words: str) -> BadStrategy | None:
    """A fault of a declaration as an error with its mend, from the error's class and words; None for any other error."""
    mends = {StrategyBroken.__name__: MEND_FILE, StrategyFault.__name__: MEND_FILE}
    return BadStrategy(words, mends[kind]) if kind in mends else None


def strategy_named(settings: Settings, name: str) -> Strategy:
    """The registered strategy. Raises UsageError with the names there are."""
    known = registered(settings)
    if name not in known:
        raise no_strategy(name, known)
    return known[name]


def parts_named(settings: Settings, name: str | None = None) -> tuple[Part, ...]:
    """What trades under a name: the book of [portfolio] with its weights, or one strategy alone. name: none for the book.

    Raises UsageError with the names there are, and BadStrategy where a file of one's own cannot be read.
    """
    try:
        if name is None or name == settings.portfolio.book:
            return parts_of(settings)
        return (Part(strategy_named(settings, name), 1.0),)
    except (StrategyBroken, StrategyFault) as fault:
        raise BadStrategy(str(fault), MEND_FILE) from fault


def load_trading_settings() -> Settings:
    """The effective settings, for commands that trade. Raises UsageError as `load_settings`, and on an unknown strategy."""
    settings = load_settings()
    known = strategies_of(settings)
    for name in settings.portfolio.strategies:
        if name not in known:
            raise no_strategy(name, known, "portfolio.strategies")
    return settings


def load_account_settings() -> Settings:
    """The effective settings, for commands that only look after an account: no strategy is imported, so none can stop them.

    With a folder of own strategies, what it holds is not asked.
    """
    settings = load_settings()
    for name in settings.portfolio.strategies if settings.strategy.folder is None else ():
        if name not in BUILT_IN:
            raise no_strategy(name, BUILT_IN, "portfolio.strategies")
    return settings


def readable_strategies(settings: Settings) -> tuple[dict[str, Strategy], str]:
    """(registered strategies by name, why those of a person's own are not among them); empty where every file can be read."""
    try:
        return strategies_of(settings), ""
    except (StrategyBroken, StrategyFault) as fault:
        return dict(STRATEGIES), str(BadStrategy(str(fault), MEND_FILE))


def refuse_unknown_parameters(settings: Settings) -> None:
    """Raise UsageError for a grid or a parameter of what is no strategy, or none of its parameters.

    Own files are not imported for it: a name that is not Kobe's is taken for one of theirs where there is a folder of them.
    """
    grid, own = settings.walk_forward.grid, settings.strategy.parameters
    named: dict[str, Mapping[str, Iterable[str]]] = {"walk_forward.grid": grid, "strategy.parameters": own}
    for section, tables in named.items():
        for name, table in tables.items():
            if name in BUILT_IN:
                known = STRATEGIES[name].parameters
                if unknown := sorted(set(table) - set(known)):
                    what = f"[{section}.{name}] {unknown[0]} is no parameter{did_you_mean(unknown[0], known)}"
                    raise UsageError(what, f"{name} has {', '.join(sorted(known))}")
            elif settings.strategy.folder is None:
                what = f"[{section}.{name}] names no strategy{did_you_mean(name, BUILT_IN)}"
                raise UsageError(what, f"there are {', '.join(sorted(BUILT_IN))}; [strategy] folder names a folder of others")


def why_only_simulated(strategy: Strategy) -> str:
    """What of the strategy is simulated, and not traded; empty where it may trade."""
    return "" if strategy.stop is not None else "without a protective stop it is simulated only"


def refuse_untradable(strategy: Strategy) -> None:
    """Raise UsageError for a strategy whose positions would be held without a protective stop."""
    if why := why_only_simulated(strategy):
        raise UsageError(f"the strategy {strategy.name} is not traded: {why}", "backtest it, and trade another")
