"""How splits, dividends and corporate actions that look wrong read as doubts; pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from kobe_assets.checks.seen import Mends, Seen, day_of
from kobe_assets.checks.split_ratio import SMALLEST, split_like
from kobe_assets.graph.doubts import DISTORTED, HARMLESS, LEFT_OUT, WRONG

MISDATED = 0.25
"""Part of a split's log ratio within which a jump is that split's, or the one that its wrong date makes."""


def split_without_jump(row: Mapping[str, Any], mends: Mends) -> Iterator[Seen]:
    symbol = row["symbol"]
    yield Seen(
        "split without jump",
        WRONG,
        f"a split × {row['expected_ratio']:.4g} is listed, the raw open moves × {row['open_ratio']:.4g}",
        "the bars before it are scaled though they should not be: a jump where none was",
        mends.split_row(symbol) + ": wrong day, or adjusted prices",
        symbol,
        row["execution_date"],
        size=abs(math.log(row["expected_ratio"])),
    )


def wrongly_listed(row: Mapping[str, Any], mends: Mends) -> tuple[str, str] | None:
    """What a split listed for a suspect jump's day, or near it, has to do with the jump, and the mend; None: nothing."""
    day, listed = day_of(row["session"]), day_of(row["listed_day"])
    if listed is None:
        return None
    before, after = row["listed_from"], row["listed_to"]
    ratio, symbol = math.log(before / after), row["symbol"]
    text = f"a split {after:g} for {before:g} is listed for {listed}"
    if before == after:
        text = f"splits that cancel each other out are listed for {listed}"
    if listed == day:
        raw = row["move"] + ratio
        like = split_like(math.exp(raw))
        if like:
            return f"{text}, the raw close moves like {like.text}", mends.right_split(symbol, day, *like)
        nothing = abs(raw) < SMALLEST
        return (f"{text}, and the raw close does not move", mends.no_split(symbol, listed)) if nothing else None
    if abs(row["move"] + ratio) < MISDATED * abs(ratio):
        return f"{text}, and the raw close does not move so", mends.no_split(symbol, listed)
    if abs(row["move"] - ratio) < MISDATED * abs(ratio):
        return f"{text}, and its jump is here", mends.right_split(symbol, day, before, after, listed)
    return None


def contradictory(row: Mapping[str, Any], mends: Mends) -> Iterator[Seen]:
    symbol = row["symbol"]
    yield Seen(
        "contradictory splits",
        LEFT_OUT,
        row["ratios"],
        "the symbol is not selected",
        mends.split_row(symbol) + ": leave the true one",
        symbol,
        row["execution_date"],
        size=1.0,
    )


def twice_paid(row: Mapping[str, Any], mends: Mends) -> Iterator[Seen]:
    is_one_day = row["day_before"] == row["ex_date"]
    seen = f"${row['amount_before']:,.4g} and ${row['amount']:,.4g}" if is_one_day else f"${row['amount']:,.4g} again"
    yield Seen(
        "dividend twice",
        DISTORTED,
        f"{seen}, of one kind and day" if is_one_day else f"{seen}, as on {day_of(row['day_before'])}",
        "both are paid: a holder gets too much where they are one",
        ("take one row out of dividends.csv, or name its kind (special)" if mends.own else f"tell {mends.vendor}"),
        row["symbol"],
        row["ex_date"],
        size=row["amount"],
    )


def action(row: Mapping[str, Any], _: Mends) -> Iterator[Seen]:
    spun = row["kind"] == "spin_off"
    other = f" to {row['other_symbol']}" if row["other_symbol"] and row["other_symbol"] == row["other_symbol"] else ""
    rate = f", {row['rate']:g}" if row["rate"] is not None and row["rate"] == row["rate"] else ""
    yield Seen(
        "corporate action",
        DISTORTED if spun else HARMLESS,
        f"{str(row['kind']).replace('_', ' ')}{other}{rate}: no price is adjusted for it",
        "the fall of the price counts as a loss" if spun else "the position ends, or goes on, by its bars alone",
        "own files can give its worth as a dividend" if spun else "nothing, where its bars end or go on as they should",
        row["symbol"],
        row["ex_date"],
        size=1.0,
    )


def dividend(row: Mapping[str, Any], mends: Mends) -> Iterator[Seen]:
    yield Seen(
        "dividend without fall",
        WRONG,
        f"${row['amount']:,.4g} a share, the close before is ${row['close_before']:,.4g} and the price did not fall",
        "a holder is paid what nobody was paid",
        "mend the row in dividends.csv" if mends.own else f"tell {mends.vendor}",
        row["symbol"],
        row["ex_date"],
        size=row["amount"] / row["close_before"],
    )


def high_yield(row: Mapping[str, Any], mends: Mends) -> Iterator[Seen]:
    yield Seen(
        "high dividends",
        DISTORTED,
        f"{row['paid']:,} dividends in a year are {row['share']:.0%} of the price",
        "holders are paid too much where the amounts are wrong",
        "check dividends.csv: dollars a share as traded" if mends.own else f"compare with another source than {mends.vendor}",
        row["symbol"],
        row["session"],
        size=row["share"],
    )
