"""The store keeps what changed, leaves alone what did not, and is never half written."""

from __future__ import annotations

import dataclasses
import datetime as dt
import subprocess
import sys

import pandas as pd
import pytest

from kobe_resources.market_data import MarketDataError
from kobe_resources.market_data.changes import StoredLoad
from kobe_resources.market_data.companions import record_options, replace_dividends, replace_splits
from kobe_resources.market_data.store import (
    begin_source,
    last_load,
    refuse_other_source,
    replace_all,
    store_in_parts,
    store_totals,
    upsert_bars,
)
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders import frames
from tests.support.builders.frames import NOON, bar, load, splits

DAY1, DAY2, DAY3 = frames.days(3)
LATER = NOON + dt.timedelta(hours=1)


def put(warehouse: Warehouse, rows: list[dict[str, object]], at: dt.datetime = NOON, source: str = "one", **more: object):
    return replace_all(warehouse, load(rows, **more), "files", source, "print", at)  # type: ignore[arg-type]


def stored(warehouse: Warehouse) -> list[tuple[object, ...]]:
    return warehouse.rows("SELECT symbol, session, close, fetched_at FROM daily_bars ORDER BY ALL")


def test_an_unchanged_bar_keeps_the_time_it_was_fetched_and_a_changed_one_leaves_its_old_value(warehouse: Warehouse) -> None:
    put(warehouse, [bar("A", DAY1, 10.0), bar("A", DAY2, 11.0)])
    changes = put(warehouse, [bar("A", DAY1, 10.0), bar("A", DAY2, 11.0, volume=2000.0), bar("A", DAY3, 12.0)], LATER)
    assert (changes.added, changes.changed, changes.unchanged, changes.removed, changes.revisions) == (1, 1, 1, 0, 1)
    assert stored(warehouse) == [("A", DAY1, 10.0, NOON), ("A", DAY2, 11.0, LATER), ("A", DAY3, 12.0, LATER)]
    kept = warehouse.rows("SELECT symbol, session, field, old, new, seen_at, old_fetched_at FROM bar_revisions")
    assert kept == [("A", DAY2, "volume", 1000.0, 2000.0, LATER, NOON)]


@pytest.mark.parametrize("field", ["open", "high", "low", "close", "volume", "vwap", "trades"])
def test_a_change_of_any_field_is_stored_and_its_old_value_kept(warehouse: Warehouse, field: str) -> None:
    one = bar("A", DAY1, open=10.0, high=12.0, low=8.0, volume=1000.0, vwap=10.0, trades=50.0)
    put(warehouse, [one])
    changed = float(str(one[field])) + 1.0
    assert put(warehouse, [one | {field: changed}], LATER).changed == 1
    assert warehouse.rows(f"SELECT {field} FROM daily_bars") == [(changed,)]
    assert warehouse.rows("SELECT field, old, new FROM bar_revisions") == [(field, changed - 1.0, changed)]
    gone = one | {field: float("nan")}
    if field in ("vwap", "trades"):
        assert put(warehouse, [gone], LATER).changed == 1, "what a source does not give any more is a change"


def test_a_bar_that_the_source_took_back_goes_and_all_its_fields_are_kept(warehouse: Warehouse) -> None:
    put(warehouse, [bar("A", DAY1), bar("A", DAY2, 11.0, vwap=10.9)])
    changes = put(warehouse, [bar("A", DAY1)], LATER)
    assert changes.removed == 1
    assert [row[1] for row in stored(warehouse)] == [DAY1]
    kept = dict(warehouse.rows("SELECT field, old FROM bar_revisions WHERE new IS NULL"))
    assert kept["close"] == 11.0
    assert kept["vwap"] == 10.9
    assert kept["trades"] is None
    assert len(kept) == 7


def test_a_missing_vwap_is_null_and_equal_to_a_missing_vwap(warehouse: Warehouse) -> None:
    put(warehouse, [bar("A", DAY1, vwap=float("nan")), bar("A", DAY2, vwap=10.0)])
    assert warehouse.rows("SELECT count(*), count(vwap) FROM daily_bars") == [(2, 1)]
    changes = put(warehouse, [bar("A", DAY1, vwap=float("nan")), bar("A", DAY2, vwap=10.0)], LATER)
    assert (changes.unchanged, changes.revisions) == (2, 0)
    came = put(warehouse, [bar("A", DAY1, vwap=9.5), bar("A", DAY2, vwap=float("nan"))], LATER)
    assert (came.changed, came.revisions) == (2, 2)
    assert warehouse.rows("SELECT old, new FROM bar_revisions ORDER BY session") == [(None, 9.5), (10.0, None)]


def test_a_top_up_leaves_bars_that_it_does_not_name(warehouse: Warehouse) -> None:
    put(warehouse, [bar("A", DAY1), bar("B", DAY1)])
    with warehouse.transaction() as connection:
        changes = upsert_bars(connection, frames.bars([bar("A", DAY2), bar("A", DAY1, 12.0)]), "files", LATER)
    assert (changes.added, changes.changed, changes.removed) == (1, 1, 0)
    assert [row[:3] for row in stored(warehouse)] == [("A", DAY1, 12.0), ("A", DAY2, 10.0), ("B", DAY1, 10.0)]


def test_a_frame_that_names_a_bar_twice_is_refused_and_nothing_changes(warehouse: Warehouse) -> None:
    put(warehouse, [bar("A", DAY1)])
    before = warehouse.content_version("daily_bars", "bar_loads")
    with pytest.raises(MarketDataError, match="more than once"):
        put(warehouse, [bar("A", DAY1, 11.0), bar("A", DAY1, 12.0)], LATER)
    assert warehouse.content_version("daily_bars", "bar_loads") == before


def test_bars_of_another_source_replace_everything_and_are_no_revisions(warehouse: Warehouse) -> None:
    put(warehouse, [bar("A", DAY1), bar("Z", DAY1)], split_rows=splits(("A", DAY2, 1, 2)), options={"A": True})
    changes = put(warehouse, [bar("A", DAY1, 99.0)], LATER, source="another")
    assert (changes.added, changes.revisions) == (1, 0)
    assert stored(warehouse) == [("A", DAY1, 99.0, LATER)]
    for table in ("bar_revisions", "splits", "option_evidence"):
        assert warehouse.rows(f"SELECT count(*) FROM {table}") == [(0,)], table
    assert warehouse.rows("SELECT symbol FROM candidates") == [("A",)]


OF_ONE_SOURCE = (
    "daily_bars", "splits", "dividends", "corporate_actions", "candidates", "option_evidence", "bar_refusals", "set_aside",
)  # fmt: skip


@pytest.mark.parametrize("table", OF_ONE_SOURCE)
def test_what_one_source_said_goes_when_another_one_takes_its_place(warehouse: Warehouse, table: str) -> None:
    put(warehouse, [bar("A", DAY1)])
    with warehouse.transaction() as connection:
        columns = connection.execute(f"SELECT column_name, column_type FROM (DESCRIBE {table})").fetchall()
        values = {"VARCHAR": "B", "DATE": DAY1, "BOOLEAN": True, "DOUBLE": 1.0, "BIGINT": 1}
        row = [values.get(kind, LATER) for _, kind in columns]
        connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
        assert not begin_source(connection, "one", LATER)
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchall() != [(0,)], "the same source goes on"
        assert begin_source(connection, "another", LATER)
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchall() == [(0,)]


def test_bars_of_another_vendor_are_refused_and_a_store_without_bars_is_anybody_s(warehouse: Warehouse) -> None:
    with warehouse.transaction() as connection:
        begin_source(connection, "sample v1", NOON)
    refuse_other_source(warehouse, "files")
    put(warehouse, [bar("A", DAY1)], source="sample v1")
    refuse_other_source(warehouse, "sample")
    with pytest.raises(MarketDataError, match=r"1 bars loaded from sample, and data\.vendor is files"):
        refuse_other_source(warehouse, "files")


@pytest.mark.parametrize(("kept", "is_refused"), [(2, False), (1, True)])
def test_a_load_that_takes_back_more_than_its_share_is_refused_however_much_it_brings(
    warehouse: Warehouse, kept: int, is_refused: bool
) -> None:
    old = [bar(symbol, DAY1) for symbol in "ABCD"]
    put(warehouse, old)
    new = load([*old[:kept], *(bar(f"N{number}", DAY1) for number in range(9))])
    before = stored(warehouse)
    if is_refused:
        with pytest.raises(MarketDataError, match="3 of them would be taken back"):
            replace_all(warehouse, new, "files", "one", "print", LATER, most_removed=0.5)
        assert stored(warehouse) == before
    else:
        assert replace_all(warehouse, new, "files", "one", "print", LATER, most_removed=0.5).removed == 2


def test_a_load_leaves_on_record_what_became_of_the_bars_and_brings_its_dividends(warehouse: Warehouse) -> None:
    put(warehouse, [bar("A", DAY1), bar("B", DAY1), bar("C", DAY1), bar("D", DAY1), bar("E", DAY1), bar("F", DAY1)])
    changed = [bar(symbol, DAY1, 11.0) for symbol in "AB"]
    added = [bar(symbol, DAY2) for symbol in "ABCD"]
    one = dataclasses.replace(load([*changed, bar("C", DAY1), *added]), dividends=paid(("A", "2024-03-14", 0.5, "regular")))
    replace_all(warehouse, one, "files", "one", "another print", LATER)
    with warehouse.connect() as connection:
        assert last_load(connection) == StoredLoad("files", "another print", LATER)
    assert warehouse.rows("SELECT added, changed, unchanged, removed FROM bar_loads WHERE loaded_at = ?", [LATER]) == [
        (4, 2, 1, 3)
    ]
    assert warehouse.rows("SELECT symbol, amount FROM dividends") == [("A", 0.5)]


def test_parts_without_a_bar_leave_the_store_as_it_was(warehouse: Warehouse) -> None:
    put(warehouse, [bar("A", DAY1)])
    with pytest.raises(MarketDataError, match="no bars in this span"):
        store_in_parts(warehouse, [], load([]), "synthetic", "another", "print", LATER)
    assert [row[:2] for row in stored(warehouse)] == [("A", DAY1)]


def test_options_that_a_source_knows_no_more_go(warehouse: Warehouse) -> None:
    put(warehouse, [bar("A", DAY1)], options={"A": True, "B": True})
    put(warehouse, [bar("A", DAY1)], LATER, options={"A": True})
    assert warehouse.rows("SELECT symbol FROM option_evidence") == [("A",)]


def test_a_load_counts_only_while_its_source_is_the_stored_one(warehouse: Warehouse) -> None:
    put(warehouse, [bar("A", DAY1)])
    with warehouse.connect() as connection:
        assert last_load(connection) is not None
    put(warehouse, [bar("A", DAY1)], LATER, source="another")
    with warehouse.transaction() as connection:
        connection.execute("DELETE FROM bar_loads WHERE epoch = 2")
        assert last_load(connection) is None


def test_a_copy_of_a_bar_made_by_hand_goes_with_the_next_full_load(warehouse: Warehouse) -> None:
    put(warehouse, [bar("A", DAY1), bar("B", DAY1)])
    with warehouse.transaction() as connection:
        connection.execute("INSERT INTO daily_bars SELECT * FROM daily_bars WHERE symbol = 'A'")
    put(warehouse, [bar("A", DAY1), bar("B", DAY1)], LATER)
    assert [row[0] for row in stored(warehouse)] == ["A", "B"]


def test_an_exact_split_is_stored_once_and_contradictory_ones_both(warehouse: Warehouse) -> None:
    twice = splits(("A", DAY2, 1, 2), ("A", DAY2, 1, 2), ("B", DAY2, 1, 2), ("B", DAY2, 1, 3))
    put(warehouse, [bar("A", DAY1)], split_rows=twice)
    assert warehouse.rows("SELECT symbol, split_to FROM splits ORDER BY ALL") == [("A", 2.0), ("B", 2.0), ("B", 3.0)]


def test_one_split_written_in_two_ways_is_one(warehouse: Warehouse) -> None:
    put(
        warehouse,
        [bar("A", DAY1)],
        split_rows=splits(("A", DAY2, 1, 1.5), ("A", DAY2, 2, 3), ("A", DAY3, 2, 4), ("A", DAY3, 1, 2)),
    )
    assert warehouse.rows("SELECT split_from, split_to FROM splits ORDER BY execution_date") == [(2.0, 3.0), (1.0, 2.0)]
    assert warehouse.rows("SELECT DISTINCT reason FROM bar_refusals ORDER BY 1")[0][0].endswith("listed 2 times, stored once")


def test_splits_of_a_window_are_replaced_and_those_outside_stay(warehouse: Warehouse) -> None:
    put(warehouse, [bar("A", DAY1)], split_rows=splits(("A", DAY1, 1, 2), ("A", DAY2, 1, 2), ("A", DAY3, 1, 2)))
    with warehouse.transaction() as connection:
        changes = replace_splits(connection, splits(("A", DAY2, 1, 3)), "files", LATER, since=DAY2, until=DAY2)
    assert (changes.added, changes.removed, changes.unchanged) == (1, 1, 0)
    assert warehouse.rows("SELECT execution_date, split_to FROM splits ORDER BY ALL") == [(DAY1, 2.0), (DAY2, 3.0), (DAY3, 2.0)]
    logged = warehouse.rows("SELECT split_to, change FROM split_revisions WHERE seen_at = ? ORDER BY ALL", [LATER])
    assert logged == [(2.0, "removed"), (3.0, "added")]


def test_the_newer_word_on_options_replaces_the_older(warehouse: Warehouse) -> None:
    put(warehouse, [bar("A", DAY1)], options={"A": True, "B": False})
    with warehouse.transaction() as connection:
        record_options(connection, load([], options={"A": False}).options, "files", LATER)
    assert warehouse.rows("SELECT symbol, has_options FROM option_evidence ORDER BY ALL") == [("A", False), ("B", False)]


def test_a_process_killed_inside_a_replacement_leaves_the_old_rows(warehouse: Warehouse) -> None:
    put(warehouse, [bar("A", DAY1, 10.0)], split_rows=splits(("A", DAY2, 1, 2)))
    tables = ("daily_bars", "splits", "candidates", "bar_loads", "bar_revisions")
    before = warehouse.content_version(*tables)
    script = (
        "import os, signal\n"
        "from kobe_resources.market_data import store\n"
        "from tests.resources.market_data.test_store import *\n"
        "store.record_load = lambda *given: os.kill(os.getpid(), signal.SIGKILL)\n"
        "put(Warehouse(), [bar('A', DAY1, 11.0), bar('B', DAY1)], LATER)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=sys.path[0] or None, check=False, capture_output=True)
    assert done.returncode == -9, done.stderr
    assert warehouse.content_version(*tables) == before


def test_totals_say_what_the_store_holds(warehouse: Warehouse) -> None:
    put(warehouse, [bar("A", DAY1), bar("A", DAY3), bar("B", DAY3)])
    with warehouse.connect() as connection:
        totals = store_totals(connection)
    assert (totals.symbols, totals.sessions, totals.bars, totals.first_session, totals.last_session) == (2, 2, 3, DAY1, DAY3)


def paid(*rows: tuple[str, str, float, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["symbol", "ex_date", "amount", "kind"])


def test_an_equal_dividend_is_stored_once_and_a_special_of_the_same_day_beside_it(warehouse: Warehouse) -> None:
    rows = paid(*[("KO", "2024-03-14", 0.485, "regular")] * 2, ("KO", "2024-03-14", 1.0, "special"))
    with warehouse.transaction() as connection:
        assert replace_dividends(connection, rows, "polygon", NOON).added == 2
    assert warehouse.rows("SELECT amount, kind, pay_date FROM dividends ORDER BY amount") == [
        (0.485, "regular", None),
        (1.0, "special", None),
    ]


def test_an_amount_of_one_kind_and_day_is_stored_once_whatever_its_pay_dates(warehouse: Warehouse) -> None:
    row = ("E", "2024-03-14", 0.3, "regular")
    frame = pd.concat([paid(row).assign(pay_date="2024-04-01"), paid(row), paid(("E", "2024-03-14", 0.31, "regular"))])
    with warehouse.transaction() as connection:
        replace_dividends(connection, frame, "files", NOON)
    assert warehouse.rows("SELECT amount, pay_date::VARCHAR FROM dividends ORDER BY ALL") == [(0.3, "2024-04-01"), (0.31, None)]


def test_dividends_of_a_window_are_replaced_and_those_outside_stay(warehouse: Warehouse) -> None:
    with warehouse.transaction() as connection:
        replace_dividends(connection, paid(("A", "2024-01-02", 1.0, "regular"), ("A", "2024-06-03", 1.0, "regular")), "x", NOON)
        later = paid(("A", "2024-06-03", 1.1, "regular"))
        since = dt.date(2024, 6, 1)
        changes = replace_dividends(connection, later, "x", NOON, since, since + dt.timedelta(days=30))
    assert (changes.added, changes.removed) == (1, 1)
    assert warehouse.rows("SELECT ex_date::VARCHAR, amount FROM dividends ORDER BY ALL") == [
        ("2024-01-02", 1.0),
        ("2024-06-03", 1.1),
    ]
    assert warehouse.rows("SELECT change, amount FROM dividend_revisions WHERE ex_date > '2024-03-01' ORDER BY rowid") == [
        ("added", 1.0),
        ("added", 1.1),
        ("removed", 1.0),
    ]
