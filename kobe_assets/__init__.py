"""What Kobe computes: the asset graph, one module an asset; the arithmetic lives in `research`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kobe_assets.api import Backtest, WalkForward, backtest, walk_forward

__all__ = ["Backtest", "WalkForward", "backtest", "walk_forward"]


def __getattr__(name: str) -> Any:
    """The name that a notebook asks for, of `api`, imported at its first use because every process imports this package."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kobe_assets import api

    return getattr(api, name)
