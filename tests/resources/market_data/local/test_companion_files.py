"""Splits, dividends and candidates beside own bars: stored, set aside with the reason, or named as not read."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from kobe_resources.market_data.local.dividends import exact_ones
from kobe_resources.market_data.local.files import FilesVendor
from kobe_resources.settings.models import DataSettings, FilesData
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders import frames
from tests.support.builders.bar_files import DAY2, GOOD, HEADER, NEXT, SPLITS_HEADER, vendor, write

pytestmark = pytest.mark.usefixtures("warehouses_stay_open")


FEW_BESIDE = {
    "no ratio": ("splits", SPLITS_HEADER + "A,2020-01-03,0,2\n", "split_from is 0, which is not positive"),
    "ratio in words": ("splits", SPLITS_HEADER + "A,2020-01-03,4:1,\n", "split_from is '4:1', which is no number"),
    "under zero": ("dividends", "symbol,ex_date,amount\nA,2020-01-03,-1\n", "amount is -1, which is not positive"),
    "euros": ("dividends", "symbol,ex_date,amount,currency\nA,2020-01-03,1,EUR\n", "the amount is in 'EUR', not in dollars"),
    "no fall": (
        "dividends",
        "symbol,ex_date,amount\nA,2020-01-03,5\n",
        "is 48% of the close before",
    ),
}


@pytest.mark.parametrize(("name", "text", "reason"), FEW_BESIDE.values(), ids=FEW_BESIDE)
def test_a_bad_row_beside_the_bars_stops_nobody_and_is_named(
    warehouse: Warehouse, tmp_path: Path, name: str, text: str, reason: str
) -> None:
    assert vendor(write(tmp_path / "few", HEADER, GOOD, NEXT, **{name: text})).sync(warehouse).bars == 2
    ((symbol, session, noted),) = warehouse.rows("SELECT symbol, session, reason FROM set_aside")
    assert (symbol, session, reason in noted) == ("A", DAY2, True)
    assert warehouse.rows(f"SELECT 1 FROM {name}") == []


def test_candidates_without_bars_are_named_and_spellings_are_those_of_the_bars(warehouse: Warehouse, tmp_path: Path) -> None:
    also = {"candidates": "symbol,has_options\na,1\nZULU,1\n"}
    vendor(write(tmp_path / "c", HEADER, GOOD, NEXT, **also)).sync(warehouse)
    assert warehouse.rows("SELECT symbol FROM candidates ORDER BY symbol") == [("A",), ("ZULU",)]
    assert warehouse.rows("SELECT symbol FROM option_evidence ORDER BY symbol") == [("A",), ("ZULU",)]
    assert warehouse.rows("SELECT reason FROM set_aside ORDER BY reason") == [
        ("candidates.csv: a is read as A, as the bars spell it",),
        ("candidates.csv: no bars of ZULU",),
    ]


def test_a_large_dividend_that_the_price_fell_by_is_paid(warehouse: Warehouse, tmp_path: Path) -> None:
    fallen = "A,2020-01-03,6,6.5,5.5,6,1000"
    also = {"dividends": "symbol,ex_date,amount\nA,2020-01-03,5\n"}
    vendor(write(tmp_path / "d", HEADER, GOOD, fallen, **also)).sync(warehouse)
    assert warehouse.rows("SELECT amount FROM dividends") == [(5.0,)]


def test_options_that_cannot_be_read_set_that_candidate_aside(warehouse: Warehouse, tmp_path: Path) -> None:
    vendor(write(tmp_path / "o", HEADER, GOOD, candidates="symbol,has_options\nA,true\nB,maybe\n")).sync(warehouse)
    assert warehouse.rows("SELECT symbol FROM candidates") == [("A",)]
    assert warehouse.rows("SELECT symbol, line FROM set_aside") == [("B", 3)]


def test_companions_in_capitals_are_read_and_others_named(warehouse: Warehouse, tmp_path: Path) -> None:
    split = SPLITS_HEADER + "a,2020-01-03,1,2\nZ,2020-01-03,1,2\n"
    vendor(write(tmp_path / "k", HEADER, GOOD, Splits=split, candidate="symbol\nA\n")).sync(warehouse)
    assert warehouse.rows("SELECT symbol FROM splits") == [("A",)]
    reasons = {row[0] for row in warehouse.rows("SELECT reason FROM set_aside")}
    assert {"Splits.csv: a is read as A, as the bars spell it", "Splits.csv: no bars of Z"} <= reasons
    assert any("candidate.csv is not read" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("name", "named"),
    [
        *(("stock_splits", True), ("splits_new", True), ("dividends - Copy", True), ("bars (1)", True), ("my bars", True)),
        *(("actions", True), ("spin-offs", True)),
        *(("notes", False), ("sidebars", False), ("splitting", False)),
    ],
)
def test_a_file_that_looks_like_a_companion_is_named(warehouse: Warehouse, tmp_path: Path, name: str, named: bool) -> None:
    vendor(write(tmp_path / "k", HEADER, GOOD, **{name: "x\n"})).sync(warehouse)
    assert [f"{name}.csv is not read" in row[0] for row in warehouse.rows("SELECT reason FROM set_aside")] == [True] * named


def test_splits_and_candidates_beside_the_bars_are_stored(warehouse: Warehouse, tmp_path: Path) -> None:
    splits = "split_to,symbol,execution_date,split_from\n3,A,2020-01-03,2\n3,A,2020-01-03,2\n"
    candidates = "symbol,has_options,name\nA,true,Alpha\nB,No,\nC,,<b>\n"
    vendor(write(tmp_path / "all", HEADER, GOOD, splits=splits, candidates=candidates)).sync(warehouse)
    assert warehouse.rows("SELECT symbol, execution_date, split_from, split_to FROM splits") == [("A", DAY2, 2.0, 3.0)]
    assert warehouse.rows("SELECT symbol, name FROM candidates ORDER BY ALL") == [("A", "Alpha"), ("B", None), ("C", "<b>")]
    assert warehouse.rows("SELECT symbol, has_options FROM option_evidence ORDER BY ALL") == [("A", True), ("B", False)]


def test_dividends_beside_the_bars_are_stored_and_a_changed_file_is_read_again(warehouse: Warehouse, tmp_path: Path) -> None:
    folder = write(tmp_path / "own", HEADER, GOOD, dividends="Symbol,ex_date,amount\nA,2020-01-03,0.25\nA,2020-01-03,0.25\n")
    vendor = FilesVendor(DataSettings(vendor="files", files=FilesData(path=folder)))
    vendor.sync(warehouse)
    stored = "SELECT symbol, ex_date::VARCHAR, amount, kind, pay_date, source FROM dividends"
    assert warehouse.rows(stored) == [("A", "2020-01-03", 0.25, "regular", None, "files")]
    (folder / "dividends.csv").write_text("symbol,ex_date,amount\nA,2020-01-03,0.26\n", encoding="utf-8")
    assert not vendor.sync(warehouse).skipped
    assert warehouse.rows(stored)[0][2] == 0.26


def test_an_amount_that_rounds_another_one_of_its_kind_and_day_is_that_one(warehouse: Warehouse, tmp_path: Path) -> None:
    rows = "A,{0},0.47\nA,{0},0.4712\nA,{1},0.82000001\nA,{1},0.82\nA,{2},0.5\nA,{2},0.6\nA,{2},0.5\n".format(
        *frames.days(4)[1:]
    )
    bars = [f"A,{day},10,11,9,10.5,{n + 1}" for n, day in enumerate(frames.days(30))]
    vendor(write(tmp_path, HEADER, *bars, dividends="symbol,ex_date,amount\n" + rows)).sync(warehouse)
    assert warehouse.rows("SELECT amount FROM dividends ORDER BY ex_date, amount") == [(0.4712,), (0.82000001,), (0.5,), (0.6,)]
    assert "dividends.csv: a dividend of 0.47 rounds that of 0.4712 of the same day; counted once" in {
        row[0] for row in warehouse.rows("SELECT reason FROM set_aside")
    }


def test_a_regular_dividend_stays_beside_a_special_one_that_was_never_paid(warehouse: Warehouse, tmp_path: Path) -> None:
    bars = [
        f"{name},{day},10,{high},9,10.5,{n + 1}"
        for n, day in enumerate(frames.days(30))
        for name, high in (("A", 11), ("B", 12))
    ]
    day = frames.days(20)[-1]
    rows = f"A,{day},4,special\nA,{day},0.1,regular\nB,{day},1.5,special\nB,{day},1.2,regular\n"
    vendor(write(tmp_path, HEADER, *bars, dividends="symbol,ex_date,amount,kind\n" + rows)).sync(warehouse)
    assert warehouse.rows("SELECT symbol, amount FROM dividends") == [("A", 0.1)]
    assert {(row[0], row[1][:36]) for row in warehouse.rows("SELECT symbol, reason FROM set_aside")} == {
        ("A", "dividends.csv: a dividend of 4 is 38"),
        ("B", "dividends.csv: a dividend of 2.7 is "),
    }


@pytest.mark.parametrize(
    ("amount", "kind", "left"),
    [(0.49, "regular", [0.485]), (0.49, "special", [0.485, 0.49]), (0.5, "regular", [0.485, 0.5]), (0.48, "regular", [0.485])],
)
def test_a_dividend_rounds_another_one_of_its_kind_to_the_cent_at_least(amount: float, kind: str, left: list[float]) -> None:
    """Half a cent apart 0.485 may be written 0.49 and 0.48; 0.5 is another amount though it has one digit."""
    rows = [("KO", "2024-03-14", 0.485, "regular"), ("KO", "2024-03-14", amount, kind), ("KO", "2024-03-15", amount, kind)]
    found = exact_ones(pd.DataFrame(rows, columns=["symbol", "ex_date", "amount", "kind"]), "dividends.csv")
    assert found.frame["amount"].tolist() == [*left, amount]
    assert len(found.aside) == 2 - len(left)
