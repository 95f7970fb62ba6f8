"""How the offenders of each check of bars read as doubts: what was seen, what it does to a result, and the mend; pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from kobe_assets.checks import action_rows
from kobe_assets.checks.seen import Mends, Reader, Seen, day_of, plain
from kobe_assets.checks.split_ratio import split_like
from kobe_assets.graph.doubts import DISTORTED, HARMLESS, INCOMPLETE, LEFT_OUT, WRONG
from kobe_assets.research.quarantine import QUARANTINE_BARS, RANGE_QUARANTINE_BARS
from kobe_resources.market_data.set_aside import DAY_EARLY, DAY_LATE, READ_AS, UNFINISHED


def _suspect(row: Mapping[str, Any], mends: Mends) -> Iterator[Seen]:
    symbol, day, until = row["symbol"], day_of(row["session"]), row["until"]
    if row["released"]:
        yield Seen(
            "suspect bar, released",
            HARMLESS,
            f"{_jump(row)}; released: {row['released']}",
            "counts as a real move",
            f"take {symbol} out of [universe] release where that is wrong",
            symbol,
            day,
        )
        return
    end = f"through {day_of(until)}" if day_of(until) else "still in force"
    bars = QUARANTINE_BARS if row["kind"] == "jump" else RANGE_QUARANTINE_BARS
    effect = f"no signals for {bars} bars ({end}); no profit counts from this bar, a loss stands"
    if row["kind"] == "jump" and (wrong := action_rows.wrongly_listed(row, mends)):
        yield Seen("wrong split", WRONG, f"{_jump(row)}; {wrong[0]}", effect, wrong[1], symbol, day, size=abs(row["move"]))
        return
    undone = day_of(row["undone"])
    is_split = row["kind"] == "jump" and undone is None
    like = split_like(math.exp(row["move"]), row["shares"], row["usual_shares"]) if is_split else None
    if like:
        seen = f"{_jump(row)}: like a split {like.text} that is not listed"
        mend = mends.split(symbol, day, *like)
        yield Seen("missing split", WRONG, seen, effect, mend, symbol, day, size=abs(row["move"]))
        return
    size = abs(row["move"]) if row["kind"] == "jump" else math.log(row["stretch"])
    seen = _jump(row) + (f", taken back on {undone}" if undone and day and undone > day else "")
    yield Seen(f"suspect {row['kind']}", WRONG, seen, effect, mends.bar(symbol), symbol, day, size=size)


def _jump(row: Mapping[str, Any]) -> str:
    what = f"close × {math.exp(row['move']):.4g}" if row["kind"] == "jump" else f"range × {row['stretch']:.3g}"
    usual = row["usual_shares"]
    return f"{what} on {row['shares'] / usual:.2g} × the usual shares" if usual > 0 else what


def _silent(row: Mapping[str, Any], mends: Mends) -> Iterator[Seen]:
    symbol, day, ratio = row["symbol"], day_of(row["session"]), row["ratio"]
    if row["shares_stay"]:
        yield Seen(
            "another company?",
            DISTORTED,
            f"close × {ratio:.4g}, and from that day on other shares are usual",
            "one listing: a position goes on, and indicators are those of both",
            "nothing where the move was real; else "
            + (f"give the later company another symbol than {symbol}" if mends.own else f"tell {mends.vendor}"),
            symbol,
            day,
            size=row["usual_days"],
        )
        return
    like = split_like(ratio)
    odd = (1.0, float(f"{1.0 / ratio:.4g}")) if ratio < 1 else (float(f"{ratio:.4g}"), 1.0)
    split = mends.split(symbol, day, *(like or odd))
    if like and mends.own:
        split += f", or {symbol},{day},{odd[0]:g},{odd[1]:g}"
    paid = f"; a spin-off: its worth a share as {symbol},{day},AMOUNT in dividends.csv" if mends.own and ratio < 1 else ""
    yield Seen(
        "silent fall" if ratio < 1 else "silent rise",
        DISTORTED,
        f"close × {ratio:.4g}, {row['usual_days']:.0f} usual days, without unusual volume"
        + (f": like a split {like.text}" if like else ": an odd split, or a spin-off?"),
        f"a {'long' if ratio < 1 else 'short'} over it loses what nobody lost, the other side gains it; indicators cross it",
        split + paid,
        symbol,
        day,
        size=row["usual_days"],
    )


def _print(row: Mapping[str, Any], mends: Mends) -> Iterator[Seen]:
    yield Seen(
        "odd print",
        DISTORTED,
        f"{row['price']} × {row['ratio']:.4g} of the nearer close, without unusual volume",
        "a fill at it, or a stop that it reaches, is at a price that nobody may have paid; ATR is too wide after it",
        mends.bar(row["symbol"]),
        row["symbol"],
        row["session"],
        size=abs(math.log(row["ratio"])),
    )


def _reused(row: Mapping[str, Any], mends: Mends) -> Iterator[Seen]:
    yield Seen(
        "re-used ticker",
        LEFT_OUT,
        f"{row['missing']} sessions without a bar, back on {day_of(row['first_after'])}",
        "two listings: positions end with the first, indicators and years start anew",
        "nothing where it is another company; else " + mends.load(),
        row["symbol"],
        row["last_before"],
        row["first_after"],
        size=row["missing"],
    )


def _missing(row: Mapping[str, Any], mends: Mends) -> Iterator[Seen]:
    yield Seen(
        "missing sessions",
        INCOMPLETE,
        f"{row['missing']:,} sessions in {row['gaps']:,} gaps, the longest {row['longest']:,}",
        "no signals and no exits there; indicators step over the gaps",
        mends.load(),
        row["symbol"],
        row["first_gap_after"],
        size=row["missing"],
    )


def _thin(row: Mapping[str, Any], mends: Mends) -> Iterator[Seen]:
    yield Seen(
        "thin session",
        INCOMPLETE,
        f"{row['bars']:,} bars where {row['usual']:,.0f} are usual",
        "the others give no signals that day",
        mends.load(),
        session=row["session"],
        size=row["usual"] - row["bars"],
    )


def _stale(row: Mapping[str, Any], _: Mends) -> Iterator[Seen]:
    yield Seen(
        "stale bars",
        DISTORTED,
        f"the last session is {day_of(row['last_session'])}, {day_of(row['expected'])} should be there",
        "nothing trades on bars that are late",
        "`kobe bars refresh`",
        session=row["last_session"],
        size=row["sessions_behind"],
    )


def _weekly(row: Mapping[str, Any], _: Mends) -> Iterator[Seen]:
    yield Seen(
        "not daily",
        WRONG,
        f"bars lie {row['days_apart']:.0f} days apart",
        "every figure a year is scaled by 252 sessions, and comes out too large",
        "load daily bars",
        row["symbol"],
        row["session"],
        size=row["days_apart"],
    )


def _idle_run(row: Mapping[str, Any], _: Mends) -> Iterator[Seen]:
    yield Seen(
        "no volume",
        HARMLESS,
        f"{row['bars']:,} bars in a row without volume",
        "an index is never selected",
        "nothing where it is an index; else load its volume",
        row["symbol"],
        row["first_session"],
        row["last_session"],
        size=row["bars"],
    )


def _repeated(row: Mapping[str, Any], mends: Mends) -> Iterator[Seen]:
    yield Seen(
        "repeated prices",
        DISTORTED,
        f"{row['bars']:,} bars in a row with the very same prices",
        "RSI and IBS are undefined or flat there, ATR shrinks: stops lie too near afterwards",
        mends.bar(row["symbol"]),
        row["symbol"],
        row["first_session"],
        row["last_session"],
        size=row["bars"],
    )


def _restated(row: Mapping[str, Any], mends: Mends) -> Iterator[Seen]:
    by = f" by {row['factor']:.4g} throughout" if row["one_factor"] else ""
    is_gone, is_bars = row["change"] == "taken back", row["what"] == "bars"
    effect = (
        "prices as traded are no longer those: share counts, price bounds and fees go wrong"
        if by and is_bars
        else "past results change"
    )
    mend = f"`kobe bars revisions --symbol {row['symbol']}` shows old and new"
    if row["what"] not in ("bars", "volumes"):
        mend = "give them back in the file" if mends.own else f"tell {mends.vendor} where it is wrong"
    elif by and is_bars:
        # A top-up restates the last sessions alone: those before may be of another base.
        mend = "load raw prices, or list the split" if mends.own else f"{mends.again(row['symbol'])}, the older ones too"
    yield Seen(
        f"{row['what']} taken back" if is_gone else "restated block" if is_bars else f"restated {row['what']}",
        DISTORTED,
        f"{row['rows']:,} {row['what']} {row['change']}{by} by the last load",
        effect,
        mend,
        row["symbol"],
        row["session"],
        row["until"],
        size=row["rows"],
    )


def _adjusted(row: Mapping[str, Any], _: Mends) -> Iterator[Seen]:
    yield Seen(
        "adjusted prices",
        DISTORTED,
        f"{row['share']:.0%} of the older closes lie between cents, the newest on them",
        "share counts, price bounds and fees go by prices that nobody paid; dividends would count twice",
        "give prices as traded, or `kobe bars import --adjusted`, which turns known splits back",
        row["symbol"],
        row["session"],
        row["until"],
        size=row["share"],
    )


def _lone(row: Mapping[str, Any], mends: Mends) -> Iterator[Seen]:
    others = f" of {row['symbols']:,} symbols" if row["symbols"] > 1 else ""
    yield Seen(
        "lone sessions",
        DISTORTED,
        f"{row['bars']:,} bars{others}, far from all others",
        "they are sessions of every run: folds, and the symbol's years, count from them",
        "mend the year of the dates, or set data.start and data.end" if mends.own else "set data.start and data.end",
        row["symbol"],
        row["session"],
        row["until"],
        size=1.0 / row["bars"],
    )


def _aside(row: Mapping[str, Any], mends: Mends) -> Iterator[Seen]:
    reason = str(row["reason"])
    line = "" if row["line"] is None or row["line"] != row["line"] else f", line {int(row['line'])}"
    kind, rank, effect = "set-aside rows", INCOMPLETE, "these rows are not among the bars"
    mend = "mend the rows in the file" if mends.own else f"nothing, or tell {mends.vendor}"
    if DAY_EARLY in reason or DAY_LATE in reason:
        kind = "a day early" if DAY_EARLY in reason else "a day late"
        mend = "date its rows by the exchange's day"
        if reason.endswith((DAY_EARLY, DAY_LATE)):
            rank, effect = LEFT_OUT, "the symbol is left out: none of these bars is stored"
    elif READ_AS in reason:
        kind, rank, effect, mend = "read otherwise", HARMLESS, "its rows count under that name", "nothing where it is right"
    elif reason == UNFINISHED:
        kind, rank, mend = "unfinished bars", HARMLESS, "nothing: they are stored once the session is over"
    seen = f"{row['rows']:,} × {reason}{line}"
    yield Seen(kind, rank, seen, effect, mend, row["symbol"] or "", row["session"], size=row["rows"])


def _impossible(seen: str) -> Reader:
    def read(row: Mapping[str, Any], mends: Mends) -> Iterator[Seen]:
        yield Seen("impossible bar", WRONG, seen, REPORT_STOPS, mends.again(row["symbol"]), row["symbol"], row["session"])

    return read


REPORT_STOPS = "no report: the check blocks"
READERS: dict[str, Reader] = {
    "duplicate_bars": plain(
        "duplicate bar", WRONG, REPORT_STOPS, "`kobe bars refresh --force`", lambda row: f"stored {row['copies']} times"
    ),
    "ohlc_order": _impossible("open or close outside high and low"),
    "non_positive": _impossible("a price that is not positive"),
    "duplicate_splits": plain(
        "duplicate split", WRONG, REPORT_STOPS, "`kobe bars refresh --force`", lambda row: f"stored {row['copies']} times"
    ),
    "contradictory_splits": action_rows.contradictory,
    "unknown_sessions": plain(
        "off the calendar",
        DISTORTED,
        "a session that the exchange did not hold is one for everybody",
        "see whether the exchange traded that day; if not, mend the dates",
        lambda row: f"{row['bars']:,} bars on a day that was no session",
    ),
    "missing_sessions": _missing,
    "zero_volume_runs": _idle_run,
    "repeated_prices": _repeated,
    "suspect_jumps": _suspect,
    "splits_without_jump": action_rows.split_without_jump,
    "dividends_without_fall": action_rows.dividend,
    "dividend_yields": action_rows.high_yield,
    "corporate_actions": action_rows.action,
    "reused_tickers": _reused,
    "stale_last_session": _stale,
    "thin_sessions": _thin,
    "orphan_bars": plain(
        "no candidate",
        HARMLESS,
        "never selected",
        "name it in the candidates, or leave it",
        lambda row: f"{row['bars']:,} bars of a symbol that is no candidate",
    ),
    "silent_moves": _silent,
    "odd_prints": _print,
    "weekly_bars": _weekly,
    "set_aside_rows": _aside,
    "restated_bars": _restated,
    "adjusted_prices": _adjusted,
    "lone_sessions": _lone,
    "repeated_dividends": action_rows.twice_paid,
    "refused_bars": plain(
        "refused row", HARMLESS, "not stored", "nothing, or mend it at the source", lambda row: str(row["reason"])
    ),
}
"""Check of bars → how its offenders read."""
