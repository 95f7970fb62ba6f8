"""The warehouse kept open while a command works: each opening of its file takes DuckDB a fortieth of a second.

For commands that read it several times and are soon over. Another process that asks for the file gets it in between.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def keeps_warehouse_open(command: Callable[P, T]) -> Callable[P, T]:
    """The command, under which the warehouse of the data folder is opened once, at first use."""

    @functools.wraps(command)
    def kept(*args: P.args, **kwargs: P.kwargs) -> T:
        from kobe_resources.settings.load import kobe_home
        from kobe_resources.warehouse.shared_connection import keep_open

        with keep_open(kobe_home() / "kobe.duckdb"):
            return command(*args, **kwargs)

    return kept
