"""With what Kobe works: settings, the warehouse, vendors, the broker, each behind one typed door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kobe_resources.warehouse.notebook import Tables, open_warehouse

__all__ = ["Tables", "open_warehouse"]


def __getattr__(name: str) -> Any:
    """`open_warehouse`, for notebooks, imported at its first use because every process imports this package."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kobe_resources.warehouse import notebook

    return getattr(notebook, name)
