"""Which staged rows stay: repeated ones, files with too many bad rows, dates off the week, prices that are adjusted."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kobe_resources.market_data.importing.faults import EXCUSED
from kobe_resources.market_data.local.columns import DECIMALS, FEWEST_CLOSES, MOST_BETWEEN
from kobe_resources.market_data.local.opening import visible
from kobe_resources.market_data.protocol import MarketDataError
from kobe_resources.market_data.set_aside import MOST_OF_FILE, days_off

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

ADJUSTED_SHARE, FEWEST_UNDER = 0.8, 20
"""Share, and number, of a file's bad rows with a close under the low, or over the high, from which it is another series."""
FEW_BAD = 3
"""Bad rows that spoil no file: in a short one they would be more than its share."""
MOST_WEEKEND, MOST_OF_SYMBOL = 0.02, 0.1
SOUND = "fault IS NULL AND priced"
EXCUSED_SQL = ", ".join(f"'{words}'" for words in EXCUSED)
TELLING_SPLIT = 0.26
"""Logarithm of 1.3: a smaller split could be a day's move."""
CLOSE_TO = 4
"""Part of a split's size by which a move that is its own may differ from it."""
MOSTLY = 0.5
"""Share of all rows that differ from another of their session from which a column of symbols was not understood."""
AGAIN = "was given already"
ENDLESS = "has a quote that never ends, and what follows is not read"
"""A fault of a row that hides an unknown number of others."""
SHOWN_NAMES = 5


class LeftOut(NamedTuple):
    """A file that is refused, why, and what a person can do about it."""

    label: str
    reason: str
    mend: str = "name a column with --column close=NAME, or export the file again"


def note_rejected(connection: duckdb.DuckDBPyConnection) -> None:
    """Table `rejected`: file, line, reason of rows whose cells could not be parted."""
    connection.execute("CREATE TABLE rejected (file INTEGER, line BIGINT, fault VARCHAR)")
    known = connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'reject_errors'").fetchall()[0][0]
    if known:
        connection.execute(
            f"INSERT INTO rejected SELECT f.id, e.line, CASE WHEN bool_or(e.error_type = 'UNQUOTED VALUE') THEN '{ENDLESS}' "  # noqa: S608
            "ELSE 'the row cannot be read: ' || min(lower(e.error_message)) END "
            "FROM reject_errors e JOIN reject_scans s USING (scan_id, file_id) JOIN files f ON f.path = s.file_path "
            "GROUP BY f.id, e.line"
        )


def drop_bad_files(connection: duckdb.DuckDBPyConnection, most_bad: float) -> list[LeftOut]:
    """Take out files of which more than `most_bad` of the rows cannot be true, or one is beyond reason."""
    bad = f"fault IS NOT NULL AND fault NOT IN ({EXCUSED_SQL})"
    rows = connection.execute(
        f"""
        WITH torn AS (
            SELECT file, count(*) AS n, arg_min(fault, line) AS fault, min(line) AS line,
                   min(line) FILTER (fault = '{ENDLESS}') AS endless
            FROM rejected GROUP BY file
        ),
        counted AS (
            SELECT file, count(*) AS rows, count(*) FILTER ({bad}) AS bad, arg_min(fault, record) FILTER ({bad}) AS first,
                   min(record) FILTER ({bad}) AS record, arg_min(fault, record) FILTER (fatal) AS fatal,
                   min(record) FILTER (fatal) AS fatal_record,
                   count(*) FILTER ({bad} AND close <= low AND fault LIKE 'low % is above open %') AS under,
                   count(*) FILTER ({bad} AND close >= high AND fault LIKE 'high % is below open %') AS over,
                   count(*) FILTER (fault LIKE 'high % is below low %') AS exchanged
            FROM staged GROUP BY file
        )
        SELECT f.id, f.label, coalesce(counted.rows, 0) + coalesce(torn.n, 0) AS held,
               coalesce(counted.bad, 0) + coalesce(torn.n, 0) AS wrong,
               coalesce(counted.first, torn.fault), counted.record, counted.fatal, counted.fatal_record, counted.under,
               torn.line, torn.endless, counted.exchanged, counted.over
        FROM files f LEFT JOIN counted ON counted.file = f.id LEFT JOIN torn ON torn.file = f.id
        WHERE counted.fatal IS NOT NULL OR torn.endless IS NOT NULL
           OR (wrong > {most_bad} * held AND (wrong > {FEW_BAD} OR wrong = held))
        ORDER BY f.id
        """  # noqa: S608
    ).fetchall()
    out = []
    for number, label, held, wrong, first, record, fatal, fatal_record, under, line, endless, exchanged, over in rows:
        reason = f"{wrong:,} of {held:,} rows cannot be true, the first: {first}"
        if fatal:
            reason, record = fatal, fatal_record
        if under and under >= ADJUSTED_SHARE * wrong and under >= FEWEST_UNDER:
            reason += (
                f"; in {under:,} rows the close lies under the low: it looks adjusted for dividends or splits, beside "
                "prices as traded. Name the raw one with --column close=NAME"
            )
        if over and over >= ADJUSTED_SHARE * wrong and over >= FEWEST_UNDER:
            reason += (
                f"; in {over:,} rows the close lies over the high: open, high and low look adjusted for dividends or splits, "
                "beside a close as traded, or it for reverse splits. Name the raw ones with --column high=NAME and so on"
            )
        if exchanged and exchanged >= ADJUSTED_SHARE * wrong and exchanged >= FEWEST_UNDER:
            reason += f"; in {exchanged:,} rows the high lies under the low: are the two columns exchanged"
        where = f"line {line}" if record is None else place_of(connection, number, record)
        if endless:
            reason, where = ENDLESS, f"line {endless}"
        out.append(LeftOut(label, f"{where}: {visible(reason)}"))
        connection.execute("DELETE FROM staged WHERE file = ?", [number])
    return out


def files_without_rows(connection: duckdb.DuckDBPyConnection) -> list[LeftOut]:
    """Files that hold a header and nothing under it."""
    rows = connection.execute(
        "SELECT label FROM files WHERE id NOT IN (SELECT file FROM staged UNION SELECT file FROM rejected) ORDER BY id"
    ).fetchall()
    return [LeftOut(label, "holds no row under its header") for (label,) in rows]


def place_of(connection: duckdb.DuckDBPyConnection, file: int, record: int) -> str:
    """Where a row of `raw` stands in its own file, as an editor counts: `line 3`, or `row 2` where the file has no lines."""
    before, skip = connection.execute(
        "SELECT min(record), (SELECT any_value(skip) FROM files WHERE id = $file) FROM staged WHERE file = $file",
        {"file": file},
    ).fetchall()[0]
    number = int(record - before + 1)
    return f"row {number}" if skip is None else f"line {number + skip}"


def judge_repeated(connection: duckdb.DuckDBPyConnection, most_bad: float) -> None:
    """Of rows of one symbol and session keep one where they say the same, none where they differ.

    Raises MarketDataError where more than `most_bad` of all rows differ from another.
    """
    _refuse_moments(connection)
    alike = " AND ".join(
        f"max({name}) - min({name}) <= 1e-9 * max({name})" for name in ("open", "high", "low", "close", "volume")
    )
    connection.execute(
        f"CREATE TABLE twice AS SELECT symbol, session, {alike} AS same, count(*) AS n, min((file, record)) AS first, "  # noqa: S608
        f"min(spelled) AS one, max(spelled) AS other FROM staged WHERE {SOUND} GROUP BY symbol, session HAVING count(*) > 1"
    )
    if not connection.execute("SELECT 1 FROM twice LIMIT 1").fetchall():
        return
    connection.execute(
        f"UPDATE staged SET fault = CASE WHEN t.same THEN '{AGAIN}' "  # noqa: S608
        "WHEN t.one = t.other THEN 'another row gives this session otherwise' "
        "ELSE t.one || ' and ' || t.other || ' are one company, and their bars of this session differ' END FROM twice t "
        f"WHERE {SOUND} AND staged.symbol = t.symbol AND staged.session = t.session "
        "AND NOT (t.same AND (staged.file, staged.record) = t.first)"
    )
    differ, rows = connection.execute(
        "SELECT (SELECT coalesce(sum(n)::BIGINT, 0) FROM twice WHERE NOT same), count(*) FROM staged"
    ).fetchall()[0]
    if differ > most_bad * rows:
        raise MarketDataError(*_differing(connection, differ, rows))


def _refuse_moments(connection: duckdb.DuckDBPyConnection) -> None:
    """Raise MarketDataError where a file has several rows a session nearly everywhere: bars of minutes or hours."""
    rows = connection.execute(
        f"SELECT any_value(label), median(n), max(n) FROM (SELECT file, count(*) AS n FROM staged WHERE {SOUND} "  # noqa: S608
        "GROUP BY file, spelled, symbol, session) JOIN files ON id = file GROUP BY file HAVING median(n) > 3 LIMIT 1"
    ).fetchall()
    for label, usual, most in rows:
        raise MarketDataError(
            f"{label} has {usual:.0f} rows a session, up to {most:,}: these are bars of parts of a day", "import daily bars"
        )


def _differing(connection: duckdb.DuckDBPyConnection, differ: int, rows: int) -> tuple[str, str]:
    symbol, session, one, other = connection.execute(
        "SELECT symbol, session, one, other FROM twice WHERE NOT same ORDER BY symbol, session LIMIT 1"
    ).fetchall()[0]
    labels = connection.execute(
        "SELECT DISTINCT label FROM staged s JOIN files f ON f.id = s.file WHERE s.symbol = ? AND session = ? LIMIT 3",
        [symbol, session],
    ).fetchall()
    where = " and ".join(row[0] for row in labels)
    names = f", as {one} and {other}" if one != other else ""
    hint = "import the true ones only, or name them with another symbol"
    if differ > MOSTLY * rows:
        hint = "if a column holds the symbols of several companies, name it with --column symbol=NAME; else " + hint
    return (
        f"{differ:,} of {rows:,} rows give a session otherwise than another row, as of {symbol} on {session} in {where}{names}",
        hint,
    )


def refuse_weekends(connection: duckdb.DuckDBPyConnection) -> None:
    """Raise MarketDataError where over 2 % of the bars lie on days that no exchange is open."""
    rows = connection.execute(
        f"SELECT count(*), count(*) FILTER (isodow(session) > 5), arg_min(symbol, session) FILTER (isodow(session) > 5), "  # noqa: S608
        f"min(session) FILTER (isodow(session) > 5) FROM staged WHERE {SOUND}"
    ).fetchall()
    bars, strange, symbol, day = rows[0]
    if strange > MOST_WEEKEND * bars:
        raise MarketDataError(
            f"{strange:,} of {bars:,} bars lie on a Saturday or Sunday, as that of {symbol} on {day}",
            "see whether the dates are a day early or late (midnight elsewhere), or day and month are exchanged (--dates)",
        )


def off_the_week(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """A line on each symbol with more than a tenth of its bars on Saturdays and Sundays, which no load will store."""
    rows = connection.execute(
        f"SELECT symbol, count(*) AS n, count(*) FILTER (isodow(session) > 5) AS strange, "  # noqa: S608
        f"min(session) FILTER (isodow(session) > 5) FROM staged WHERE {SOUND} GROUP BY symbol "
        f"HAVING strange > {MOST_OF_SYMBOL} * n ORDER BY symbol LIMIT {SHOWN_NAMES}"
    ).fetchall()
    return [
        f"{strange:,} of {n:,} bars of {symbol} lie on a Saturday or Sunday, as on {day}: its dates look a day early or late, "
        "and a load sets it aside"
        for symbol, n, strange, day in rows
    ]


def off_calendar(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """A line on bars of weekdays without a session where they are more than a load takes without a question."""
    found = connection.execute(
        f"SELECT session, count(*) AS n, min(symbol) AS symbol FROM staged WHERE {SOUND} GROUP BY session ORDER BY session"  # noqa: S608
    ).fetchnumpy()
    days, counts = found["session"].astype("datetime64[D]"), found["n"]
    off = days_off(days, counts, dt.datetime.now(dt.UTC))[0] & np.is_busday(days) if len(days) else np.zeros(0, bool)
    strange, bars = int(counts[off].sum()), int(counts.sum())
    if strange <= MOST_OF_FILE * bars:
        return []
    return [
        f"{strange:,} of {bars:,} bars lie on weekdays that were no session, as that of {found['symbol'][off][0]} on"
        f" {days[off][0]}: a load sets them aside, and refuses them all unless they repeat the bar before; are they of another"
        " exchange?"
    ]


def odd_actions(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Lines on splits and dividends that change nothing: of symbols without bars, and dividends under zero."""
    rows = connection.execute(
        "SELECT DISTINCT symbol FROM staged WHERE fault IS NULL AND NOT priced AND symbol NOT IN "  # noqa: S608
        f"(SELECT symbol FROM staged WHERE {SOUND} UNION SELECT symbol FROM held_bars) ORDER BY symbol"
    ).fetchall()
    lines = [f"no bars of {_few([row[0] for row in rows])}: splits and dividends of theirs count for nothing"] if rows else []
    under = connection.execute(
        f"SELECT count(*), arg_min(symbol, session), min(session) FROM staged WHERE {SOUND} AND dividend < 0"  # noqa: S608
    ).fetchall()[0]
    if under[0]:
        lines.append(f"{under[0]:,} dividends under zero are left out, as of {under[1]} on {under[2]}")
    return lines


def slow_bars(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """A line on symbols whose bars are weeks or months apart."""
    rows = connection.execute(
        "SELECT symbol, median(step) AS step FROM (SELECT symbol, date_diff('day', "  # noqa: S608
        f"lag(session) OVER (PARTITION BY symbol ORDER BY session), session) AS step FROM staged WHERE {SOUND}) "
        "GROUP BY symbol HAVING count(*) > 9 AND median(step) >= 4 ORDER BY symbol"
    ).fetchall()
    if not rows:
        return []
    symbol, step = rows[0]
    kind = "weekly" if step < 10 else "monthly" if step < 40 else "sparse"
    return [f"bars of {len(rows):,} symbols look {kind}, not daily: {symbol} has one in {step:.0f} days"]


def known_splits(connection: duckdb.DuckDBPyConnection, raw: Sequence[int]) -> None:
    """Table `known`: the splits of the files and of the folder (`held_splits`), with what the prices do on their day.

    raw: batches of files that were made raw by what they say themselves: their prices prove nothing, and stay.
    """
    connection.execute(
        f"""
        CREATE OR REPLACE TABLE known AS
        WITH given AS (
            SELECT symbol, execution_date, any_value(split_from) AS split_from, any_value(split_to) AS split_to
            FROM (SELECT symbol, session AS execution_date, split_from, split_to FROM staged
                  WHERE split_from <> split_to AND (fault IS NULL OR fault IN ({EXCUSED_SQL}))
                  UNION ALL SELECT symbol, execution_date, split_from, split_to FROM held_splits)
            GROUP BY symbol, execution_date
        ), bars AS (
            SELECT symbol, session, close, lag(close) OVER (PARTITION BY symbol ORDER BY session) AS before
            FROM staged WHERE {SOUND} AND symbol IN (SELECT symbol FROM given)
              AND file NOT IN (SELECT id FROM files WHERE list_contains($raw, batch))
        )
        SELECT g.*, ln(b.close / b.before) AS move, ln(split_to / split_from) AS size
        FROM given g ASOF LEFT JOIN bars b ON b.symbol = g.symbol AND b.session >= g.execution_date
        """,  # noqa: S608
        {"raw": list(raw)},
    )


def refuse_turned_splits(connection: duckdb.DuckDBPyConnection) -> None:
    """Raise MarketDataError for a split whose day moves the price by its size, and the other way."""
    rows = connection.execute(
        "SELECT symbol, execution_date, split_from, split_to, exp(move) FROM known "  # noqa: S608
        f"WHERE abs(size) > {TELLING_SPLIT} AND abs(move - size) < abs(size) / {CLOSE_TO} "
        "ORDER BY symbol, execution_date LIMIT 1"
    ).fetchall()
    for symbol, day, old, new, ratio in rows:
        raise MarketDataError(
            f"{symbol} has a split of {new:g} shares for {old:g} on {day}, where the price is {ratio:.3g} times the one before",
            "is it the other way round? The new shares come first: 4:1 is four for one",
        )


def adjusted_by(connection: duckdb.DuckDBPyConnection, yahoo: Sequence[int]) -> str | None:
    """What shows that the prices are adjusted, in words; None where nothing does. yahoo: batches that yfinance wrote."""
    quiet, loud, symbol, day = connection.execute(
        f"""
        SELECT count(*) FILTER (quiet), count(*) FILTER (NOT quiet), arg_max(symbol, size) FILTER (quiet),
               arg_max(execution_date, size) FILTER (quiet)
        FROM (SELECT *, abs(move) < abs(size) / 2 AS quiet FROM known WHERE abs(size) > {TELLING_SPLIT} AND move IS NOT NULL)
        """  # noqa: S608
    ).fetchall()[0]
    if quiet > loud:
        return f"{quiet:,} of {quiet + loud:,} splits leave no trace in the prices, as that of {symbol} on {day}"
    held, strange, one, of_yahoo, _, _ = _cents(connection, yahoo)
    if strange and strange > 0.02 * held:
        newest = "" if of_yahoo else " and the newest on them"
        return (
            f"older closes of {strange:,} symbols lie between cents{newest}, as of {one}: prices adjusted for dividends look so"
        )
    return None


def between_cents(connection: duckdb.DuckDBPyConnection, yahoo: Sequence[int]) -> bool:
    """Whether closes lie between cents still, as dividends leave them."""
    return bool(_cents(connection, yahoo)[1])


def off_cents(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """A line on symbols whose closes lie between cents from the first to the last: no exchange closes so."""
    *_, throughout, one = _cents(connection, ())
    return [
        f"closes of {throughout:,} symbols lie between cents throughout, as of {one}: adjusted prices of years ago look so, "
        "and computed ones; Kobe needs prices as traded"
    ] * bool(throughout)


def _cents(connection: duckdb.DuckDBPyConnection, yahoo: Sequence[int]) -> tuple[int, int, str, bool, int, str]:
    """Symbols with bars enough to tell; those whose older closes lie between cents and the newest do not; one of them.

    Where yfinance wrote them (`yahoo`) the newest may, too: the fourth value. Then those of whom all do; one of them.
    """
    return connection.execute(
        f"""
        WITH bars AS (
            SELECT symbol, session, abs(close * 100 - round(close * 100)) > 1e-4 + close * 2e-5 AS odd,
                   list_contains($yahoo, batch) AS of_yahoo
            FROM staged JOIN files ON files.id = staged.file WHERE {SOUND} AND session >= DATE '{DECIMALS}' AND close >= 1
        ), spans AS (
            SELECT symbol, max(session) AS last, min(session) + ((max(session) - min(session)) // 2)::INTEGER AS middle
            FROM bars GROUP BY symbol HAVING count(*) >= {FEWEST_CLOSES}
        ), by_symbol AS (
            SELECT symbol, avg(odd::INT) FILTER (session < middle) AS early,
                   avg(odd::INT) FILTER (session >= last - 7) AS late, bool_or(of_yahoo) AS of_yahoo
            FROM bars JOIN spans USING (symbol) GROUP BY symbol
        ), judged AS (
            SELECT *, early > {MOST_BETWEEN} AND (late = 0 OR of_yahoo) AS strange,
                   early > {MOST_BETWEEN} AND late > {MOST_BETWEEN} AS throughout
            FROM by_symbol
        )
        SELECT count(*), count(*) FILTER (strange), min(symbol) FILTER (strange),
               coalesce(bool_or(strange AND of_yahoo), false),
               count(*) FILTER (throughout), min(symbol) FILTER (throughout)
        FROM judged
        """,  # noqa: S608
        {"yahoo": list(yahoo)},
    ).fetchall()[0]


def turn_back(connection: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """Make adjusted bars raw by the known splits that left no trace; how many bars of how many symbols."""
    connection.execute(
        f"""
        CREATE TABLE factors AS
        SELECT symbol, execution_date, product(split_to / split_from) OVER (
            PARTITION BY symbol ORDER BY execution_date ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS factor
        FROM known WHERE move IS NOT NULL AND (abs(size) <= {TELLING_SPLIT} OR abs(move) < abs(size) / 2)
        """  # noqa: S608
    )
    # The first split after a bar carries the product of itself and all later ones.
    connection.execute(
        """
        UPDATE staged SET open = open * factor, high = high * factor, low = low * factor, close = close * factor,
               volume = volume / factor, vwap = vwap * factor, dividend = dividend * factor
        FROM (SELECT s.file, s.record, s.symbol, f.factor FROM staged s ASOF JOIN factors f
              ON f.symbol = s.symbol AND f.execution_date > s.session) back
        WHERE staged.file = back.file AND staged.record = back.record AND staged.symbol = back.symbol
        """
    )
    rows = connection.execute(
        "SELECT count(*), count(DISTINCT symbol) FROM staged s SEMI JOIN factors f ON f.symbol = s.symbol "  # noqa: S608
        f"AND f.execution_date > s.session WHERE {SOUND}"
    ).fetchall()
    return rows[0]


def twins(connection: duckdb.DuckDBPyConnection, fewest: int) -> list[str]:
    """A line on symbols with the very same bars."""
    rows = connection.execute(
        f"SELECT list(symbol ORDER BY symbol) FROM (SELECT symbol, count(*) AS n, "  # noqa: S608
        f"sum(hash(session, open, high, low, close, volume)::HUGEINT) AS print FROM staged WHERE {SOUND} GROUP BY symbol) "
        "WHERE n >= ? GROUP BY n, print HAVING count(*) > 1",
        [fewest],
    ).fetchall()
    return [
        f"{_few(names)} have the very same bars: they count as one company until candidates.csv lists both"
        for (names,) in sorted(rows)
    ]


def _few(names: list[str]) -> str:
    shown = names[:SHOWN_NAMES]
    return " and ".join(shown if len(names) <= SHOWN_NAMES else [*shown, f"{len(names) - SHOWN_NAMES:,} more"])
