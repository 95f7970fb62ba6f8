"""The register of strategies: adding one is a file with its declaration, and its name in `_declared`."""

from collections.abc import MutableMapping

from kobe_assets.research.faults import BadDeclaration, StrategyBroken, StrategyFault
from kobe_assets.research.strategies.base import MECHANICAL, Params, Reading, Strategy
from kobe_assets.research.strategies.register import Register

BUILT_IN = ("rsi2", "ibs", "rsi2_ibs")
"""The canonical strategies, whose parameters are the keys of [strategy]; known without importing them."""


def _declared() -> tuple[Strategy, ...]:
    from kobe_assets.research.strategies.ibs import IBS
    from kobe_assets.research.strategies.rsi2 import RSI2
    from kobe_assets.research.strategies.rsi2_ibs import RSI2_IBS

    return RSI2, IBS, RSI2_IBS


STRATEGIES: MutableMapping[str, Strategy] = Register(_declared)

__all__ = [
    "BUILT_IN", "MECHANICAL", "STRATEGIES", "BadDeclaration", "Params", "Reading", "Strategy", "StrategyBroken",
    "StrategyFault",
]  # fmt: skip
