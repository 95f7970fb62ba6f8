"""The register of strategies: adding one is a file with its declaration and a line here."""

from kobe_assets.research.strategies.base import MECHANICAL, Params, Reading, Strategy
from kobe_assets.research.strategies.ibs import IBS
from kobe_assets.research.strategies.rsi2 import RSI2
from kobe_assets.research.strategies.rsi2_ibs import RSI2_IBS

STRATEGIES: dict[str, Strategy] = {strategy.name: strategy for strategy in (RSI2, IBS, RSI2_IBS)}

__all__ = ["MECHANICAL", "STRATEGIES", "Params", "Reading", "Strategy"]
