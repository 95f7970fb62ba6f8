"""What is wrong with a row of an import, as SQL over its cells and over its typed prices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kobe_resources.market_data.importing.numbers import blank
from kobe_resources.market_data.importing.shapes import PRICES
from kobe_resources.market_data.local.columns import DOLLARS, EARLIEST, LATEST, MOST_PRICE, MOST_RATIO, MOST_SHARES

if TYPE_CHECKING:
    from collections.abc import Collection

ROUNDING = 1e-6
FOREIGN = "€£¥"
"""Signs of other currencies, which a price or a dividend in dollars does not have."""
DAILY = ("", "d", "1d", "day", "daily", "1day", "1440")
NO_PRICES, NO_ROW, NO_DOLLARS = "has no prices", "is no row of the table", "is not in dollars"
EXCUSED = (NO_PRICES, NO_ROW, NO_DOLLARS)
"""What is left out and yet speaks of no error in the rest."""
BYTE_ORDER_MARK = "chr(65279)"
"""SQL: what begins a file of Windows, and stands unseen in the middle of files that were put one under the other."""


def fault_sql(held: Collection[str], numbers: Collection[str], is_bars: bool, is_wide: bool, dated: str) -> str:
    """SQL: what is wrong with a row's cells; NULL where they can all be read.

    held: the meanings that have a column. numbers: those that hold numbers. is_wide: the columns are of several symbols.
    dated: the name of the column of dates, which stands under itself where files were put one under the other.
    """
    header = dated.strip("\ufeff \t").casefold().replace("'", "''")
    bare = f"lower(trim(replace(typed.session, {BYTE_ORDER_MARK}, '')))"
    cases = [f"WHEN days.day IS NULL AND {bare} = '{header}' THEN '{NO_ROW}'"] if header else []
    if is_bars:
        empty = " AND ".join(f"{name}_ IS NULL AND {blank('typed.' + name)}" for name in PRICES if name in held)
        cases.append(
            f"WHEN open_ IS NULL AND {empty} THEN CASE WHEN days.day IS NULL THEN '{NO_ROW}' ELSE '{NO_PRICES}' END"
            if "open" in held
            else ""
        )
    cases.append("WHEN days.day IS NULL THEN 'the date ' || coalesce(left(typed.session, 40), '(empty)') || ' cannot be read'")
    strange = f"days.day NOT BETWEEN DATE '{EARLIEST}' AND DATE '{LATEST}'"
    cases.append(f"WHEN {strange} THEN 'the date ' || days.day || ' is before {EARLIEST} or after {LATEST}'")
    if "symbol" in held or is_wide:
        cases.append("WHEN names.symbol IS NULL THEN 'symbol ' || coalesce(typed.symbol || ' ' || names.wrong, 'is empty')")
    if "period" in held:
        daily = ", ".join(f"'{word}'" for word in DAILY)
        cases.append(
            f"WHEN typed.period IS NOT NULL AND lower(trim(typed.period)) NOT IN ({daily}) "
            "THEN 'is a bar of period ' || typed.period"
        )
    if "currency" in held:
        dollars = ", ".join(f"'{word}'" for word in DOLLARS)
        cases.append(
            f"WHEN NOT {blank('typed.currency')} AND lower(trim(typed.currency)) NOT IN ({dollars}) THEN '{NO_DOLLARS}'"
        )
    if money := [f"typed.{name}" for name in (*PRICES, "dividend") if name in held]:
        cases.append(f"WHEN regexp_matches(concat({', '.join(money)}), '[{FOREIGN}]') THEN '{NO_DOLLARS}'")
    needed = [name for name in (*PRICES, "volume") if name in held] if is_bars else []
    if not is_bars and "dividend" in held and not {*held} & {"split", "split_to"}:
        needed = ["dividend"]
    optional = [name for name in numbers if name in held and name not in needed]
    for name in needed:
        words = f"CASE WHEN {blank('typed.' + name)} THEN 'empty' ELSE left(typed.{name}, 40) || ', which is no number' END"
        cases.append(f"WHEN {name}_ IS NULL THEN '{name} is ' || {words}")
    for name in optional:
        cases.append(
            f"WHEN {name}_ IS NULL AND NOT {blank('typed.' + name)} "
            f"THEN '{name} is ' || left(typed.{name}, 40) || ', which is no number'"
        )
    if "split" in held:
        cases.append("WHEN ratios.wrong THEN 'the split ' || left(typed.split, 40) || ' cannot be read'")
    return f"CASE {' '.join(cases)} END"


def price_faults() -> tuple[str, str]:
    """SQL over typed prices: what cannot be true, and whether it makes the whole file doubtful."""
    near = f"(1 + {ROUNDING})"
    checks = [
        (f"NOT ({' AND '.join(f'isfinite({name})' for name in (*PRICES, 'volume'))})", "'a price or the volume is not finite'"),
        *((f"{name} <= 0", f"'{name} is ' || {name} || ', which is not positive'") for name in PRICES),
        ("volume < 0", "'volume is ' || volume || ', which is negative'"),
        (f"volume > {MOST_SHARES}", "'volume is ' || volume || ', more shares than there are'"),
        (
            f"greatest(open, high, low, close) > {MOST_PRICE}",
            "'a price is ' || greatest(open, high, low, close) || ', more than any share costs'",
        ),
        (f"high * {near} < low", "'high ' || high || ' is below low ' || low"),
        (f"high * {near} < greatest(open, close)", "'high ' || high || ' is below open ' || open || ' or close ' || close"),
        (f"low > least(open, close) * {near}", "'low ' || low || ' is above open ' || open || ' or close ' || close"),
    ]
    fatal = f"(volume > {MOST_SHARES} OR greatest(open, high, low, close) > {MOST_PRICE} OR {_odd_split()})"
    checks.append((_odd_split(), "'a split of ' || split_from || ' to ' || split_to || ' is more than any'"))
    return "CASE " + " ".join(f"WHEN {test} THEN {words}" for test, words in checks) + " END", fatal


def action_faults() -> tuple[str, str]:
    cases = (
        f"WHEN {_odd_split()} THEN 'a split of ' || split_from || ' to ' || split_to || ' is more than any' "
        "WHEN split_from <= 0 OR split_to <= 0 THEN 'a split of ' || split_from || ' to ' || split_to || ' is none' "
        "WHEN dividend < 0 THEN 'dividend is ' || dividend || ', which is negative'"
    )
    return f"CASE {cases} END", _odd_split()


def _odd_split() -> str:
    return f"coalesce(greatest(split_from / nullif(split_to, 0), split_to / nullif(split_from, 0)) > {MOST_RATIO}, false)"
