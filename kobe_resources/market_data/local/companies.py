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
SHARED = 0.99
"""Share of the shorter history that the longer one has too."""
MOST_DIFFERING = 0.01
"""Share of the sessions of two spellings that may differ before one spelling is given up whole."""


def one_name_each(bars: pd.DataFrame, listed: Collection[str]) -> tuple[pd.DataFrame, list[AsideRow]]:
    """The bars with each history under one name only, unless candidates.csv lists the other name too."""
    gone: dict[str, str] = {}
    for shorter, longer in _alike(bars):
        if (shorter not in listed or longer not in listed) and shorter not in gone and longer not in gone:
            gone[shorter] = longer
    aside: list[AsideRow] = [
        (name, None, f"every bar of {name} is one of {kept}: one company under two names", None, {"symbol": name})
        for name, kept in gone.items()
    ]
    left = bars[~bars["symbol"].isin(list(gone))] if gone else bars
    joined, of_spellings = _one_spelling_each(left, listed)
    return joined, [*aside, *of_spellings]


def _alike(bars: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs (shorter, longer) of symbols that share nearly all bars of the shorter one."""
    sql = """
        WITH shared AS (
            SELECT list(symbol ORDER BY symbol) AS names FROM bars GROUP BY session, open, high, low, close, volume
            HAVING count(*) > 1 AND count(*) <= 50
        ), pairs AS (
            SELECT a, b, count(*) AS n FROM (
                SELECT unnest(names) AS a, names FROM shared), unnest(names) AS other(b)
            WHERE a < b GROUP BY a, b HAVING count(*) >= $fewest
        ), sizes AS (SELECT symbol, count(*) AS n FROM bars GROUP BY symbol)
        SELECT CASE WHEN y.n <= x.n THEN b ELSE a END AS shorter, CASE WHEN y.n <= x.n THEN a ELSE b END AS longer
        FROM pairs JOIN sizes x ON x.symbol = a JOIN sizes y ON y.symbol = b
        WHERE pairs.n >= $share * least(x.n, y.n) ORDER BY longer, shorter
    """
    with duckdb.connect() as connection:
        connection.register("bars", bars)
        # Bars of two companies are hardly ever the same: most files have no such pair, and this is found without a list.
        prints = "SELECT hash(session, open, high, low, close, volume) AS print FROM bars"
        repeated = connection.execute(f"SELECT 1 FROM ({prints}) GROUP BY print HAVING count(*) > 1 LIMIT 1").fetchall()  # noqa: S608
        return connection.execute(sql, {"fewest": SAME_HISTORY, "share": SHARED}).fetchall() if repeated else []


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
