"""Whose bars are loaded from Alpaca: the symbols of a CSV file, or active assets whose name says that they are common stock.

Alpaca's list has no type of security. The words of the name stand in for it; they leave out ordinary shares, ADRs and funds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kobe_resources.market_data.alpaca.errors import AlpacaIncomplete
from kobe_resources.market_data.over_network import RESUMES
from kobe_resources.market_data.polygon.candidates import COLUMNS
from kobe_resources.market_data.polygon.rows import is_symbol

if TYPE_CHECKING:
    import pandas as pd

COMMON_STOCK = "common stock"
BY_NAME = f'active, name says "{COMMON_STOCK}"'
"""The type of a candidate that was chosen by the words of its name: the report shows how the list was made."""
OPTIONS = "has_options"


def candidates_of_assets(assets: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """symbol, name, type, active, has_options of listed common stocks. Raises AlpacaIncomplete where there are none."""
    import pandas as pd

    rows = {
        asset["symbol"]: [asset["symbol"], _name(asset), BY_NAME, True, has_options(asset)]
        for asset in assets
        if is_symbol(asset.get("symbol"))
        and asset.get("status", "active") == "active"
        and asset.get("exchange") != "OTC"
        and COMMON_STOCK in _name(asset).lower()
    }
    if not rows:
        raise AlpacaIncomplete("Alpaca lists no common stocks", RESUMES)
    return pd.DataFrame([rows[symbol] for symbol in sorted(rows)], columns=COLUMNS)


def with_assets(candidates: pd.DataFrame, assets: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The candidates of a file; what they lack of has_options is read off the assets, and who is not listed is not active."""
    listed = {asset["symbol"]: asset for asset in assets if is_symbol(asset.get("symbol"))}
    known = [
        has_options(listed[symbol]) if given is None and symbol in listed else given
        for symbol, given in zip(candidates["symbol"], candidates[OPTIONS], strict=True)
    ]
    active = [bool(flag) and symbol in listed for symbol, flag in zip(candidates["symbol"], candidates["active"], strict=True)]
    return candidates.assign(has_options=_objects(known), active=active)


def has_options(asset: dict[str, Any]) -> bool:
    """Whether the vendor says that options on it are listed."""
    attributes = asset.get("attributes")
    return isinstance(attributes, list) and OPTIONS in attributes


def _objects(values: list[Any]) -> pd.Series:
    import pandas as pd

    return pd.Series(values, dtype=object)


def _name(asset: dict[str, Any]) -> str:
    name = asset.get("name")
    return "".join(letter for letter in name if letter.isprintable())[:200] if isinstance(name, str) else ""
