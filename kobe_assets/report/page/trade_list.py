"""Every trade of a book as columns of whole numbers; static/trades.js reads them when their table comes into view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kobe_assets.report.page.packing import LARGEST, Numbers, block, folded, pack_block, steps

if TYPE_CHECKING:
    import pandas as pd

CENTS, FINE = 100.0, 10_000.0
"""Prices from `FINE_BELOW` dollars carry two decimals, lower ones four."""
FINE_BELOW = 10.0
SHORT_LIST = 2_000


def pack_trades(trades: pd.DataFrame) -> str:
    """The trades of one book, in their order. trades: as StrategyResult.trades."""
    symbols, symbol = _codes(trades["symbol"])
    reasons, reason = _codes(trades["exit_reason"])
    strategies, strategy = _codes(trades["entered_by"])
    # Sums of a short list are those of the figures, to the cent; in a long one the digits would weigh too much.
    finest = FINE if len(trades) <= SHORT_LIST else CENTS
    largest = trades["pnl"].abs().to_numpy(float).max(initial=0.0)
    money = next((scale for scale in (finest, CENTS) if largest * scale < LARGEST), 1.0)
    # What a sale of $75 costs in fees is a fraction of a cent.
    small = FINE if trades[["fees", "dividends"]].abs().to_numpy(float).max(initial=0.0) * FINE < LARGEST else money
    qty, shares = trades["qty"].to_numpy(float), trades["shares"].to_numpy(float)
    pieces = _pieces(np.concatenate([qty, shares]))
    entry = trades["entry_price"].to_numpy(float)
    unit = np.where(entry < FINE_BELOW, FINE, CENTS)
    at = np.rint(entry * unit)
    day = {name: _days(trades[f"{name}_session"]) for name in ("signal", "entry", "exit")}
    columns: dict[str, Numbers] = {
        "symbol": folded(symbol),
        "by": folded(strategy),
        "short": folded((trades["side"] == "short").to_numpy()),
        "fold": steps(trades["fold"]),
        "entry": steps(day["entry"]),
        "signal": folded(day["entry"] - day["signal"]),
        "exit": folded(day["exit"] - day["entry"]),
        "entry_price": folded(2 * at + (unit == FINE)),
        "exit_price": folded(np.rint(trades["exit_price"].to_numpy(float) * unit) - at),
        "stop": folded(np.rint(trades["stop"].to_numpy(float) * unit) - at),
        "reason": folded(reason),
        "qty": folded(qty, pieces),
        # As many as the prices are adjusted to: the same but before a split.
        "shares": folded(np.rint(shares * pieces) - np.rint(qty * pieces)),
        "fees": folded(trades["fees"], small),
        "dividends": folded(trades["dividends"], small),
        "pnl": folded(trades["pnl"], money),
        "bars": folded(trades["bars_held"]),
        "r": folded(trades["r"], 100.0),
        "mae": folded(trades["mae_r"], 100.0),
        "mfe": folded(trades["mfe_r"], 100.0),
    }
    header = {
        "rows": len(trades), "columns": list(columns), "symbols": symbols, "reasons": reasons, "strategies": strategies,
        "money": money, "small": small, "pieces": pieces,
    }  # fmt: skip
    return pack_block(block(header, list(columns.values())))


def _pieces(shares: Any) -> float:
    """Into how many parts a share is divided: as few as keep every digit, and as the largest order allows."""
    if np.array_equal(shares, np.rint(shares)):
        return 1.0
    largest = np.abs(shares).max(initial=0.0)
    return next((scale for scale in (FINE, CENTS) if 2 * largest * scale < LARGEST), 1.0)


def _codes(column: pd.Series[Any]) -> tuple[list[str], Any]:
    """The column's values in order, and each row's place among them."""
    import pandas as pd

    codes, values = pd.factorize(column.astype(object), sort=True)
    return [str(value) for value in values], codes


def _days(column: pd.Series[Any]) -> Any:
    return column.to_numpy().astype("datetime64[D]").astype(np.int64)
