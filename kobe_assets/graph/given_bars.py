"""Bars given as a DataFrame, made into a panel; what is wrong with them is refused in one line."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kobe_assets.research.panel import PRICES, Panel, build_panel
from kobe_resources.errors import UsageError

OTHER_NAMES = {"date": "session", "datetime": "session", "timestamp": "session", "ticker": "symbol", "dividends": "dividend"}
ONE_SYMBOL = "BARS"
"""The name of the one symbol of a frame that names none."""
NEEDED = "give the columns symbol, session, open, high, low, close and volume, one row a bar"
ROUNDING = 1e-9
"""Adjusted prices may miss the order of low, open, close and high by rounding."""


def panel_of_frame(bars: pd.DataFrame) -> Panel:
    """The panel of a frame with one row a bar, in any order. Raises UsageError.

    Columns, in any case: session (or date, or a DatetimeIndex), open, high, low, close, volume; symbol where there are several.
    Prices are adjusted for splits. factor, where there is one: adjusted price / price as traded; dividend: dollars a share as
    traded, on its ex-date. Other columns are not read.
    """
    frame = _named(bars)
    symbols, symbol = np.unique(frame["symbol"].astype(str).to_numpy(), return_inverse=True)
    sessions, session = np.unique(_days(frame["session"]), return_inverse=True)
    columns = {name: _numbers(frame, name) for name in (*PRICES, "volume")}
    columns["factor"] = _numbers(frame, "factor") if "factor" in frame else np.ones(len(frame))
    dividends = np.nan_to_num(_numbers(frame, "dividend")) if "dividend" in frame else None
    try:
        panel = build_panel(tuple(symbols.tolist()), sessions, symbol, session, columns, dividends)
    except ValueError as error:
        raise UsageError(f"the given bars make no panel ({error})", "mend or drop those rows") from None
    _refuse_disorder(panel)
    return panel


def _named(bars: pd.DataFrame) -> pd.DataFrame:
    """The columns that are read, under their names."""
    if not isinstance(bars, pd.DataFrame):
        raise UsageError(f"bars are a {type(bars).__name__} and no DataFrame", NEEDED)
    if bars.columns.nlevels > 1:
        raise UsageError("the columns of the given bars have several levels", f"{NEEDED}; bars.stack() may help")
    has_days = any(isinstance(bars.index.get_level_values(k), pd.DatetimeIndex) for k in range(bars.index.nlevels))
    frame = bars.reset_index() if has_days else bars
    if has_days and bars.index.nlevels == 1 and bars.index.name is None:
        frame = frame.rename(columns={frame.columns[0]: "session"})
    names = [str(name).strip().lower() for name in frame.columns]
    frame = frame.set_axis([OTHER_NAMES.get(name, name) for name in names], axis=1)
    if "symbol" not in frame:
        frame = frame.assign(symbol=ONE_SYMBOL)
    missing = [name for name in ("session", *PRICES, "volume") if name not in frame]
    if missing:
        raise UsageError(f"the given bars have no column {missing[0]}", NEEDED)
    if twice := sorted(name for name in {*PRICES, "session", "symbol", "volume"} if list(frame.columns).count(name) > 1):
        raise UsageError(f"the given bars have the column {twice[0]} twice", NEEDED)
    if frame.empty:
        raise UsageError("the given bars have no row", NEEDED)
    if frame["symbol"].isna().any():
        raise UsageError("some of the given bars have no symbol", NEEDED)
    return frame


def _days(column: pd.Series) -> np.ndarray:
    """Sessions as days: the date that the column says, in its own time zone."""
    try:
        days = pd.to_datetime(column)
        if days.dt.tz is not None:
            days = days.dt.tz_localize(None)
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"the sessions of the given bars are no dates ({str(error).splitlines()[0]})", NEEDED) from None
    if days.isna().any():
        raise UsageError("some of the given bars have no session", NEEDED)
    found: np.ndarray = days.to_numpy().astype("datetime64[D]")
    return found


def _numbers(frame: pd.DataFrame, name: str) -> np.ndarray:
    try:
        found: np.ndarray = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
    except (ValueError, TypeError):
        raise UsageError(f"the column {name} of the given bars holds what is no number", NEEDED) from None
    return found


def _refuse_disorder(panel: Panel) -> None:
    lowest, highest = np.minimum(panel.open, panel.close), np.maximum(panel.open, panel.close)
    wrong = (panel.low > lowest * (1.0 + ROUNDING)) | (panel.high < highest * (1.0 - ROUNDING))
    if wrong.any():
        bar = int(wrong.argmax())
        raise UsageError(
            f"{int(wrong.sum())} of the given bars have a low above, or a high below, their open or close, the first of "
            f"{panel.symbols[panel.symbol[bar]]} at {panel.sessions[panel.session[bar]]}",
            "mend or drop those rows",
        )
