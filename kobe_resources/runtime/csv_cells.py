"""Cells of CSV files as a spreadsheet must take them: as text, where they begin as a formula does."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
"""How a cell begins that Excel, LibreOffice or Google Sheets would run, in full-width letters too (OWASP, CSV Injection)."""
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def safe_cell(value: Any) -> Any:
    """The value with an apostrophe before a text that would be a formula; numbers, in words too, stay numbers."""
    if isinstance(value, str) and FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def safe_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """A copy of the frame, for `to_csv`, whose texts and headers no spreadsheet runs."""
    import pandas as pd

    safe = frame.rename(columns=safe_cell)
    for place in range(safe.shape[1]):
        column = safe.iloc[:, place]
        if not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column)):
            safe.isetitem(place, column.astype(object).map(safe_cell))
    return safe
