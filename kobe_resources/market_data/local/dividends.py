"""Dividends against the bars around them: a large part of the price that left no trace in it was never paid."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import duckdb

if TYPE_CHECKING:
    import pandas as pd

    from kobe_resources.market_data.local.companies import AsideRow

LARGE = 0.2
"""Share of the close before above which a dividend shows in the price."""
FELL = 0.5
"""Share of the dividend by which the price falls at least."""


class Paid(NamedTuple):
    """The dividends that may be paid, and those that cannot have been."""

    frame: pd.DataFrame
    aside: list[AsideRow]


def exact_ones(dividends: pd.DataFrame, file: str) -> Paid:
    """Part the dividends from rows that only round another one of their kind and day, as two sources of one amount do."""
    given = dividends.assign(place=range(len(dividends)), of_kind=dividends.get("kind"))
    with duckdb.connect() as connection:
        connection.register("given", given)
        rows = connection.execute(_ROUNDED).fetchall()
    if not rows:
        return Paid(dividends, [])
    aside: list[AsideRow] = [
        (
            symbol,
            day,
            f"{file}: a dividend of {amount:g} rounds that of {exact:g} of the same day; counted once",
            None,
            {"symbol": symbol, "ex_date": day, "amount": amount},
        )
        for _, symbol, day, amount, exact in rows
    ]
    gone = {row[0] for row in rows}
    return Paid(dividends[[place not in gone for place in range(len(dividends))]], aside)


def paid_ones(dividends: pd.DataFrame, bars: pd.DataFrame, splits: pd.DataFrame, file: str) -> Paid:
    """Part the dividends that may be true from those over a fifth of the close without a fall.

    A dividend that was never paid flatters a result like nothing else. dividends, splits: of symbols
    with bars.
    """
    if not len(dividends):
        return Paid(dividends, [])
    with duckdb.connect() as connection:
        for name, frame in (("paid", dividends), ("bars", bars), ("splits", splits)):
            connection.register(name, frame)
        rows = connection.execute(_SQL, {"large": LARGE, "fell": FELL}).fetchall()
    if not rows:
        return Paid(dividends, [])
    # A regular dividend beside a special one that was never paid stays; of several small ones nothing tells which is true.
    most = {(symbol, day): LARGE * close if largest > LARGE * close else 0.0 for symbol, day, _, close, largest in rows}
    days = dividends["ex_date"].astype(str).str[:10]
    limits = [most.get(key, float("inf")) for key in zip(dividends["symbol"], days, strict=True)]
    aside: list[AsideRow] = [
        (
            symbol,
            day,
            f"{file}: a dividend of {amount:g} is {amount / close:.0%} of the close before, and the price did not fall",
            None,
            {"symbol": symbol, "ex_date": day, "amount": amount},
        )
        for symbol, day, amount, close, _ in rows
    ]
    return Paid(dividends[dividends["amount"].to_numpy(float) <= limits], aside)


_ROUNDED = """
    WITH amounts AS (SELECT *, length(split_part(amount::VARCHAR, '.', 2)) AS digits FROM given)
    SELECT r.place, r.symbol, r.ex_date::DATE::VARCHAR, r.amount, max(o.amount)
    FROM amounts r JOIN amounts o ON o.symbol = r.symbol AND o.ex_date = r.ex_date AND o.of_kind IS NOT DISTINCT FROM r.of_kind
    WHERE o.digits > r.digits AND abs(o.amount - r.amount) <= 0.5 * power(10.0, -greatest(r.digits, 2)) + 1e-9
    GROUP BY ALL ORDER BY r.place
"""
_SQL = """
    WITH given AS (
        SELECT symbol, ex_date::DATE AS ex_date, sum(amount) AS amount, max(amount) AS largest
        FROM (SELECT DISTINCT symbol, ex_date, amount FROM paid) GROUP BY ALL
    ), days AS (
        SELECT symbol, session::DATE AS session, close, least(open, close) AS least
        FROM bars WHERE symbol IN (SELECT symbol FROM given)
    ), split AS (
        SELECT symbol, execution_date::DATE AS ex_date, product(split_from / split_to) AS ratio FROM splits GROUP BY ALL
    ), around AS (
        SELECT g.*, max_by(close, session) FILTER (session < g.ex_date) AS before,
               min_by(least, session) FILTER (session >= g.ex_date) AS after
        FROM given g JOIN days USING (symbol)
        WHERE session BETWEEN g.ex_date - INTERVAL 20 DAYS AND g.ex_date + INTERVAL 20 DAYS
        GROUP BY ALL
    )
    SELECT symbol, ex_date::VARCHAR, CASE WHEN largest > $large * before * coalesce(ratio, 1.0) THEN largest ELSE amount END,
           before * coalesce(ratio, 1.0), largest
    FROM around LEFT JOIN split USING (symbol, ex_date)
    WHERE amount > $large * before * coalesce(ratio, 1.0) AND before * coalesce(ratio, 1.0) - after < $fell * amount
    ORDER BY symbol, ex_date
"""
