"""What a check that is a query says of its offenders, where the worst row does not say it; pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kobe_resources.market_data.set_aside import READ_AS

if TYPE_CHECKING:
    import pandas as pd


def _words_of_set_aside(frame: pd.DataFrame, count: int) -> str:
    """How many rows, and of each reason the first."""
    import pandas as pd

    parts, named, rows_named = [], [], 0
    for row in frame.itertuples():
        if READ_AS in row.reason:
            rows_named += row.rows
            named.append(row.reason)
            continue
        day = "" if pd.isna(row.session) else f" {str(row.session)[:10]}"
        line = "" if pd.isna(row.line) else f", line {int(row.line)}"
        what = f"{row.rows:,} x {row.reason}" if row.rows > 1 else row.reason
        rest = [name for name in str(row.symbols or "").split(", ") if name not in ("", row.symbol)]
        others = f"; others: {', '.join(rest)}" if rest else ""
        parts.append(f"{what} ({row.symbol}{day}{line}{others})" if row.symbol else what)
    aside = f"{count - rows_named:,} rows of the source are set aside, and are not among the bars: " + "; ".join(parts)
    return "; ".join([aside] * bool(parts) + named)


def _words_of_restated(frame: pd.DataFrame, count: int) -> str:
    """Symbol by symbol, how many bars, splits or dividends, and by which factor."""
    parts = [
        f"{row.rows:,} {row.what} of {row.symbol} {row.change}" + (f" by {row.factor:.4g}" if row.one_factor else "")
        for row in frame.head(5).itertuples()
    ]
    more = f" and {count - len(parts)} more" if count > len(parts) else ""
    one = frame["one_factor"] & (frame["what"] == "bars")
    adjusted = "; one factor throughout: adjusted prices, or a split that is not listed?" if one.any() else ""
    return ", ".join(parts) + more + adjusted


def _words_of_adjusted(frame: pd.DataFrame, count: int) -> str:
    named = ", ".join(frame["symbol"].head(5)) + (f" and {count - 5} more" if count > 5 else "")
    return (
        f"the prices of {count:,} symbols look adjusted ({named}): older closes lie between cents, the newest on them; give "
        "them as traded, or `kobe bars import --adjusted`"
    )


def _words_of_dividends(frame: pd.DataFrame, count: int) -> str:
    """The largest pair; both are paid."""
    row = frame.iloc[0]
    days = f"{str(row['day_before'])[:10]} and {str(row['ex_date'])[:10]}"
    where = f"twice on {str(row['ex_date'])[:10]}" if row["day_before"] == row["ex_date"] else f"on {days}"
    more = f", and {count - 1:,} more" if count > 1 else ""
    amounts = f"${row['amount_before']:,.4g} and ${row['amount']:,.4g}"
    rest = [name for name in dict.fromkeys(frame["symbol"].head(20)) if name != row["symbol"]][:5]
    more += f" ({', '.join(rest)})" if rest else ""
    return f"{row['symbol']} pays {where} ({amounts}){more}: one dividend listed twice would be paid twice"


WORDS: dict[str, Callable[[pd.DataFrame, int], str]] = {
    "set_aside_rows": _words_of_set_aside,
    "restated_bars": _words_of_restated,
    "adjusted_prices": _words_of_adjusted,
    "repeated_dividends": _words_of_dividends,
}
"""What a check that is a query says, where the worst row does not say it."""
