"""One company under several names in one file: equal histories, and spellings of one symbol."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import duckdb

from kobe_resources.market_data.symbols import identity

if TYPE_CHECKING:
    import pandas as pd

AsideRow = tuple[str, Any, str, int | None, dict[str, Any]]
"""Symbol, session or None, reason, line or None, the row's own cells."""
SAME_HISTORY = 20
"""Bars that two symbols share, and hardly any others, from which they are one company under two names."""
NOTHING = ("nan", "none", "null", "na", "nat")
"""What programs write for a symbol that is missing: no ticker in small letters."""
LEAP = 0.1
"""Logarithm of a move of the close from which bars that two symbols share are another company's than the bars beside them."""
SHARED = 0.9
"""Share of the shorter history that the longer one has too, to four digits: one source rounds what another does not."""
MOST_DIFFERING = 0.01
"""Share of the sessions of two spellings that may differ before one spelling is given up whole."""


def one_name_each(bars: pd.DataFrame, listed: Collection[str]) -> tuple[pd.DataFrame, list[AsideRow]]:
    """The bars with each history under one name only, unless candidates.csv lists the other name too.

    Of two that share a part of theirs the longer one keeps it.
    """
    gone: dict[str, str] = {}
    in_part: list[tuple[str, str]] = []
    for shorter, longer, is_whole in _alike(bars):
        if shorter in listed and longer in listed:
            continue
        if not is_whole:
            in_part += [(shorter, longer)] if identity(shorter) != identity(longer) else []
        elif shorter not in gone and longer not in gone:
            gone[shorter] = longer
    aside: list[AsideRow] = [
        (name, None, f"the bars of {name} are those of {kept}: one company under two names", None, {"symbol": name})
        for name, kept in gone.items()
    ]
    left = bars[~bars["symbol"].isin(list(gone))] if gone else bars
    left, of_parts = _parts_once(left, in_part)
    joined, of_spellings = _one_spelling_each(left, listed)
    return joined, [*aside, *of_parts, *of_spellings]


def in_capitals(bars: pd.DataFrame) -> tuple[pd.DataFrame, list[AsideRow]]:
    """The bars with tickers in small letters read in capitals, a line for each: no exchange lists one in small letters.

    One that stands in both is joined with the other, or not, by `one_name_each`.
    """
    held = {str(symbol) for symbol in bars["symbol"].unique()}
    small = {
        one: one.upper() for one in sorted(held - {*NOTHING}) if identity(one) == one.upper() != one and one.upper() not in held
    }
    if not small:
        return bars, []
    aside: list[AsideRow] = [(one, None, f"{one} is read as {name}", None, {"symbol": one}) for one, name in small.items()]
    named = bars.assign(symbol=bars["symbol"].replace(small))
    return named.sort_values(["symbol", "session"], kind="stable", ignore_index=True), aside


def spelled_as(rows: pd.DataFrame, symbols: Collection[str], file: str) -> tuple[pd.DataFrame, list[AsideRow]]:
    """The rows of `file` with their symbols as `symbols` spell the same companies, a line for each that was otherwise."""
    same = {identity(symbol): symbol for symbol in symbols}
    given = {str(symbol) for symbol in rows["symbol"].unique()}
    meant = {name: same[identity(name)] for name in sorted(given - set(symbols)) if identity(name) in same}
    if not meant:
        return rows, []
    aside: list[AsideRow] = [
        (name, None, f"{file}: {name} is read as {symbol}, as the bars spell it", None, {"symbol": name})
        for name, symbol in meant.items()
    ]
    return rows.assign(symbol=rows["symbol"].replace(meant)), aside


def _parts_once(bars: pd.DataFrame, pairs: Collection[tuple[str, str]]) -> tuple[pd.DataFrame, list[AsideRow]]:
    """The bars without those that one symbol of a pair (shorter, longer) has from the other, to the last digit.

    Whose price leaps where they begin or end is not their owner; where neither does, the longer one is.
    """
    aside: list[AsideRow] = []
    for name, kept in pairs:
        mine, theirs = bars[bars["symbol"] == name], bars[bars["symbol"] == kept]
        both = mine.reset_index().merge(theirs, on=["session", "open", "high", "low", "close", "volume"])
        if len(both) < SAME_HISTORY:
            continue
        leaps = [_leap(one, both["session"].min(), both["session"].max()) for one in (mine, theirs)]
        if leaps[1] > max(LEAP, leaps[0]):
            name, kept = kept, name
            both = theirs.reset_index().merge(mine, on=["session", "open", "high", "low", "close", "volume"])
        words = f"{len(both):,} bars of {name} are those of {kept}, which keeps them"
        aside.append((name, both["session"].min(), words, None, {"symbol": name, "bars": len(both)}))
        bars = bars.drop(index=both["index"])
    return bars, aside


def _leap(bars: pd.DataFrame, first: Any, last: Any) -> float:
    """The larger of the moves of a symbol's close into its bars of `first` … `last` and out of them; as a logarithm."""
    import numpy as np

    moves = np.abs(np.diff(np.log(bars["close"].to_numpy(float))))
    begins, ends = (int(np.searchsorted(bars["session"].to_numpy(), np.datetime64(day))) for day in (first, last))
    return max((float(moves[place]) for place in (begins - 1, ends) if 0 <= place < len(moves)), default=0.0)


def _alike(bars: pd.DataFrame) -> list[tuple[str, str, bool]]:
    """Pairs (shorter, longer) of symbols that share bars, and whether nearly all of the shorter one's, or all of its prices.

    Prices alone are a history where they move; of volume one source may count another part.
    """
    # Bars of two companies are hardly ever the same: most files have no such pair, and this is found without a list.
    sql = """
        WITH rounded AS (
            SELECT symbol, session, volume, round(open * unit) AS open, round(high * unit) AS high, round(low * unit) AS low,
                   round(close * unit) AS close
            FROM (SELECT *, CASE WHEN close < 1 THEN 1e4 WHEN close < 10 THEN 1e3 WHEN close < 100 THEN 1e2
                                 WHEN close < 1000 THEN 10.0 ELSE 1.0 END AS unit FROM bars)
        ), marked AS (SELECT *, hash(session, open, high, low, close) AS print FROM rounded),
        twice AS (SELECT print FROM marked GROUP BY print HAVING count(*) BETWEEN 2 AND 50),
        held AS (SELECT * FROM marked SEMI JOIN twice USING (print)),
        pairs AS (
            SELECT x.symbol AS a, y.symbol AS b, count(*) AS prices, count(*) FILTER (x.volume = y.volume) AS bars,
                   count(DISTINCT x.close) AS moves
            FROM held x JOIN held y USING (session, open, high, low, close) WHERE x.symbol < y.symbol
            GROUP BY a, b HAVING count(*) >= $fewest
        ), sizes AS (SELECT symbol, count(*) AS n FROM bars SEMI JOIN held USING (symbol) GROUP BY symbol)
        SELECT CASE WHEN y.n <= x.n THEN b ELSE a END AS shorter, CASE WHEN y.n <= x.n THEN a ELSE b END AS longer,
               CASE WHEN moves >= $fewest THEN prices ELSE pairs.bars END
                   >= greatest($fewest, $share * least(x.n, y.n)) AS whole
        FROM pairs JOIN sizes x ON x.symbol = a JOIN sizes y ON y.symbol = b
        WHERE whole OR (moves >= $fewest AND pairs.bars >= $fewest)
        ORDER BY longer, shorter
    """
    with duckdb.connect() as connection:
        connection.register("bars", bars)
        return connection.execute(sql, {"fewest": SAME_HISTORY, "share": SHARED}).fetchall()


def _one_spelling_each(bars: pd.DataFrame, listed: Collection[str]) -> tuple[pd.DataFrame, list[AsideRow]]:
    """The bars of a symbol's spellings (`brk-b`, `BRK.B`) joined under one; rows of one session that differ both go."""
    import pandas as pd

    spellings = defaultdict(list)
    for symbol in bars["symbol"].unique():
        spellings[identity(str(symbol))].append(str(symbol))
    several = {name: held for name, held in spellings.items() if len(held) > 1 and not set(held) <= set(listed)}
    if not several:
        return bars, []
    aside: list[AsideRow] = []
    parts = [bars[~bars["symbol"].isin([one for held in several.values() for one in held])]]
    for name, held in several.items():
        mine = bars[bars["symbol"].isin(held)]
        kept = next((one for one in held if one in listed), name)
        named = ", ".join(sorted(held))
        once = mine.drop_duplicates(subset=[column for column in mine.columns if column != "symbol"])
        differing = once[once.duplicated("session", keep=False)]
        if len(differing) > MOST_DIFFERING * len(once):
            sizes = mine["symbol"].value_counts()
            kept = max(held, key=lambda one: (int(sizes[one]), one == name))
            parts.append(mine[mine["symbol"] == kept])
            lost = [one for one in held if one != kept]
            reason = f"{named} are one symbol spelled otherwise, with different bars: only {kept} is kept"
            aside += [(one, None, reason, None, {"symbol": one}) for one in lost]
            continue
        parts.append(once[~once["session"].isin(differing["session"])].assign(symbol=kept))
        reason = f"{named} are one symbol spelled otherwise: read as {kept}"
        aside += [(one, None, reason, None, {"symbol": one}) for one in held if one != kept]
        for row in differing.to_dict(orient="records"):
            words = f"{named} give this session otherwise, and are one symbol"
            aside.append((str(row["symbol"]), row["session"], words, None, row))
    return pd.concat(parts, ignore_index=True).sort_values(["symbol", "session"], kind="stable"), aside
