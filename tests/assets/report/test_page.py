"""The page as text: complete, escaped, deterministic, small, and never broken by what is missing."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import hashlib
import html as html_text
import json
import os
import re
import time
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from kobe_assets.report.analysis.criteria import GATES
from kobe_assets.report.analysis.inputs import DATA, UNIVERSE, ReportInputs
from kobe_assets.report.analysis.results import books_of
from kobe_assets.report.analysis.verdict import verdict_rows
from kobe_assets.report.page.appendix import settings_toml
from kobe_assets.report.page.chart_data import inert_json
from kobe_assets.report.page.packed_data import PackedData, packed_data
from kobe_assets.report.page.packing import block, folded, steps
from kobe_assets.report.page.page import LATEST, build_report, write_report
from kobe_resources.settings.load import load_settings
from kobe_resources.settings.models import DataSettings, Settings
from kobe_resources.settings.pins import config_pin
from tests.support.builders.fabricate import NOW, fabricate, inputs_from, settings_for
from tests.support.unpack import columns_of, header_of, payload_of, script_of, trades_of, unpacked

EVIL = "</script><script>alert(1)</script>"
FRAMES = tuple(f.name for f in dataclasses.fields(ReportInputs) if f.type == "pd.DataFrame")


def without(inputs: ReportInputs, *names: str) -> ReportInputs:
    return dataclasses.replace(inputs, **{name: getattr(inputs, name).iloc[:0] for name in names})


def without_evidence(inputs: ReportInputs, *names: str) -> ReportInputs:
    kept = {owner: {n: v for n, v in values.items() if n not in names} for owner, values in inputs.evidence.items()}
    return dataclasses.replace(inputs, evidence=kept)


def test_the_same_inputs_give_the_same_bytes_but_for_the_time(inputs: ReportInputs) -> None:
    first, later = build_report(inputs, NOW), build_report(inputs, NOW + dt.timedelta(days=1))
    assert first != later
    assert first.replace("2024-01-03 22:15 UTC", "T") == later.replace("2024-01-04 22:15 UTC", "T")


def test_the_order_of_rows_changes_nothing(inputs: ReportInputs) -> None:
    shuffled = {
        name: getattr(inputs, name).sample(frac=1, random_state=5)
        for name in ("folds", "trades", "equity", "kpis", "kpi_reasons", "bars", "dollar_volume")
    }
    assert build_report(dataclasses.replace(inputs, **shuffled), NOW) == build_report(inputs, NOW)


def test_nothing_is_fetched_and_only_our_script_and_plotly_may_run(inputs: ReportInputs) -> None:
    page = build_report(inputs, NOW)
    assert len(re.findall(r"<script>", page)) == 1
    assert page.count("Content-Security-Policy") == 1
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    assert "default-src &#39;none&#39;" in policy[1]
    assert "unsafe-eval" not in policy[1]
    scripts = html_text.unescape(policy[1]).split("script-src ")[1].split(";")[0].split()
    ours = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    assert ours
    packed = [unpacked(script_of(page, f'id="{name}"')) for name in ("plotly", "script")]
    allowed = [hashlib.sha256(text).digest() for text in (*packed, ours[1].encode())]
    assert scripts == [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in allowed]
    assert not re.search(r"<(?:link|script|img)[^>]*(?:href|src)=\"?(?:https?:)?//", page)


def test_strings_of_the_data_are_inert_wherever_they_appear(inputs: ReportInputs) -> None:
    trades = inputs.trades.assign(symbol=EVIL, exit_reason=EVIL)
    kpis = pd.concat([inputs.kpis, pd.DataFrame([["rsi2", "canonical", EVIL, 1.0]], columns=inputs.kpis.columns)])
    reasons = pd.DataFrame([["ibs", "canonical", "wfe", EVIL]], columns=inputs.kpi_reasons.columns)
    params = inputs.folds.assign(params=json.dumps({EVIL: EVIL}), refused=json.dumps({EVIL: 3}))
    universe = inputs.universe.assign(symbol=EVIL, reason=EVIL)
    checks = [{"name": EVIL, "severity": EVIL, "passed": False, "count": 1, "description": EVIL}]
    evidence = {**inputs.evidence, DATA: {"checks": checks, "quarantine": [{"symbol": EVIL, "session": EVIL, "ratio": 1}]}}
    hostile = dataclasses.replace(
        inputs, trades=trades, kpis=kpis, kpi_reasons=reasons, folds=params, universe=universe, evidence=evidence,
        splits=inputs.splits.assign(symbol=EVIL), spans=inputs.spans.assign(source=EVIL), versions={EVIL: EVIL},
    )  # fmt: skip
    page = build_report(hostile, NOW)
    assert EVIL not in page
    assert "<script>alert" not in page
    assert page.count(html_text.escape(EVIL)) > 20
    assert {trade["symbol"] for trade in trades_of(page, "rsi2|canonical")} == {EVIL}


def test_a_strategy_with_a_hostile_name_is_text_too(inputs: ReportInputs) -> None:
    name = '"><img src=x onerror=alert(1)>'
    renamed = {
        frame: getattr(inputs, frame).assign(strategy=name) for frame in ("folds", "trades", "equity", "kpis", "kpi_reasons")
    }
    renamed = {frame: rows[rows.get("mode") == "canonical"] for frame, rows in renamed.items()}
    page = build_report(dataclasses.replace(inputs, **renamed), NOW)
    assert name not in page
    assert "<img" not in page.replace("<img>", "")[: page.index("<script>")]


def test_json_inside_the_page_cannot_end_its_element() -> None:
    text = inert_json({"a": "</script><!--\u2028 & 'q\""})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script><!--\u2028 & 'q\""}


def test_the_next_run_s_orders_are_in_the_page_with_their_session(inputs: ReportInputs) -> None:
    entry = {
        "symbol": "<b>KO",
        "strategy": "rsi2",
        "side": "buy",
        "shares": 3.0,
        "limit": 61.25,
        "stop": None,
        "dollars": 183.75,
    }
    orders = {
        "session": "2024-03-06", "signal_session": "2024-03-05", "stage": "paper", "dollars": 183.75, "budget": 1000.0,
        "budget_share": 0.1, "entries": [entry], "exits": [], "refused": [], "notes": ["the kill switch is on"],
    }  # fmt: skip
    page = build_report(inputs, NOW, next_orders=orders)
    assert "At the open of 2024-03-06" in page
    assert 'href="#tomorrow"' in page
    assert "&lt;b&gt;KO" in page
    assert "183.75 of $1,000.00 a session (10 % of the account)" in page
    assert "the kill switch is on" in page
    for nothing in (None, {**orders, "entries": []}):
        assert 'id="tomorrow"' not in build_report(inputs, NOW, next_orders=nothing)


@pytest.mark.parametrize("name", FRAMES)
def test_an_empty_table_leaves_a_page(inputs: ReportInputs, name: str) -> None:
    page = build_report(without(inputs, name), NOW)
    assert "</html>" in page
    assert payload_of(page)["books"].keys() == payload_of(build_report(inputs, NOW))["books"].keys()


def test_evidence_that_is_missing_is_named_with_its_reason(inputs: ReportInputs) -> None:
    bare = dataclasses.replace(inputs, evidence={})
    books = payload_of(build_report(bare, NOW))["books"]
    why = books["rsi2|canonical"]["why"]
    assert why["costs"] == "The cost sensitivity was not measured in this run."
    assert "buy-and-hold" in why["regimes"]
    assert "No histogram" in why["pbo"]
    page = build_report(bare, NOW)
    assert "No check results were recorded" in page
    assert "not recorded in this run" in page


def test_a_page_of_nothing_says_so(inputs: ReportInputs) -> None:
    page = build_report(dataclasses.replace(without(inputs, *FRAMES), evidence={}, pins={}, versions={}), NOW)
    assert "Nothing has been tested yet." in page
    assert payload_of(page)["books"] == {}


def test_no_trades_at_all_leave_reasons_in_place_of_charts(inputs: ReportInputs) -> None:
    book = payload_of(build_report(without(inputs, "trades"), NOW))["books"]["ibs|canonical"]
    assert {"r", "exits", "held", "excursions", "without_best", "symbols", "capacity"} <= book["why"].keys()
    assert book["flow"][0]["traded"] == 0


def test_a_figure_without_a_value_has_its_reason_on_the_page(inputs: ReportInputs) -> None:
    nulls = inputs.kpis.assign(value=np.nan)
    reasons = inputs.kpis[["strategy", "mode", "figure"]].assign(reason="the moon was full")
    page = build_report(dataclasses.replace(inputs, kpis=nulls, kpi_reasons=reasons), NOW)
    assert page.count("the moon was full") > len(nulls)
    assert "nan" not in re.sub(r"(?s)<script.*?</script>|<style.*?</style>", "", page).lower().split()


def test_one_short_fold_is_enough_for_a_page(tmp_path: Path) -> None:
    one = inputs_from(fabricate(symbols=2, sessions=453, test=63), tmp_path, settings_for(2))
    assert one.folds["fold"].unique().tolist() == [1]
    page = build_report(one, NOW)
    why = payload_of(page)["books"]["rsi2|canonical"]["why"]
    assert why["rolling"] == "Fewer than 126 sessions."


def test_every_trade_is_on_the_page_with_its_figures(inputs: ReportInputs) -> None:
    page = build_report(inputs, NOW)
    for book in books_of(inputs):
        packed = trades_of(page, book.key)
        assert len(packed) == len(book.trades)
        for name, given in (
            ("pnl", "pnl"), ("fees", "fees"), ("dividends", "dividends"), ("r", "r"), ("mae", "mae_r"), ("mfe", "mfe_r"),
            ("entry_price", "entry_price"), ("exit_price", "exit_price"), ("stop", "stop"), ("qty", "qty"),
            ("shares", "shares"), ("bars", "bars_held"), ("fold", "fold"),
        ):  # fmt: skip
            found = np.array([trade[name] for trade in packed], dtype=float)
            np.testing.assert_allclose(found, book.trades[given].to_numpy(float), atol=0.00501)
        for name in ("symbol", "side", "entered_by", "exit_reason"):
            assert [trade[name] for trade in packed] == book.trades[name].astype(str).tolist()
        for name in ("signal", "entry", "exit"):
            days = book.trades[f"{name}_session"].to_numpy().astype("datetime64[D]").astype(int)
            assert [trade[name] for trade in packed] == days.tolist()


def test_shares_times_the_way_of_the_price_is_the_profit_before_fees_also_before_a_split(inputs: ReportInputs) -> None:
    split = inputs.trades.assign(qty=inputs.trades["shares"] / 2)
    trades = trades_of(build_report(dataclasses.replace(inputs, trades=split), NOW), "ibs|canonical")
    assert trades
    for trade in trades:
        way = (trade["exit_price"] - trade["entry_price"]) * (1 if trade["side"] == "long" else -1)
        pnl = way * trade["shares"] - trade["fees"] + trade["dividends"]
        assert pnl == pytest.approx(trade["pnl"], abs=0.02 * trade["shares"] + 0.01)


@pytest.mark.parametrize("shares", [0.5, 250_000.25, 300_000_000.5])
def test_any_number_of_shares_can_be_packed(inputs: ReportInputs, shares: float) -> None:
    trades = inputs.trades.assign(qty=shares, shares=shares)
    packed = trades_of(build_report(dataclasses.replace(inputs, trades=trades), NOW), "ibs|canonical")
    assert all(trade["shares"] == pytest.approx(shares, abs=0.51 if shares > 1e6 else 0.01) for trade in packed)


def test_fees_and_dividends_of_a_small_account_keep_their_fractions_of_a_cent(inputs: ReportInputs) -> None:
    costs = inputs.trades.assign(fees=0.0017, dividends=-0.0123)
    trades = trades_of(build_report(dataclasses.replace(inputs, trades=costs), NOW), "ibs|optimized")
    assert {(trade["fees"], trade["dividends"]) for trade in trades} == {(0.0017, -0.0123)}


def test_profits_of_a_short_list_add_up_to_the_figure(inputs: ReportInputs) -> None:
    page = build_report(inputs, NOW)
    for book in books_of(inputs):
        assert sum(trade["pnl"] for trade in trades_of(page, book.key)) == pytest.approx(
            float(book.trades["pnl"].sum()), abs=0.005
        )


def test_every_gate_is_explained_where_it_stands_and_leads_to_the_glossary(inputs: ReportInputs) -> None:
    page = build_report(inputs, NOW)
    for gate in GATES:
        assert page.count(f'href="#g-{gate.name}"') == len(books_of(inputs))
        assert page.count(f'<div id="g-{gate.name}">') == 1
        said = html_text.unescape(page).replace("\u00a0", " ")
        assert said.count(f'<span class="gate-why">{gate.meaning}</span>') == len(books_of(inputs))


def test_numbers_too_large_or_undefined_are_packed_as_undefined() -> None:
    assert columns_of(block({}, [folded([1.5, -3, np.nan, 1e300, 0], 2.0)]), 1, 5) == [[3, -6, None, None, 0]]
    assert columns_of(block({"a": 1}, [steps([np.nan, 5, np.nan, 3])]), 1, 4) == [[None, 5, None, -2]]


def test_the_settings_on_the_page_give_the_same_pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(
        data={"vendor": "synthetic"},
        universe={"release": {"BRK.B": 'a "real" split', "X": "why\\not 📈\x7f"}},
        walk_forward={"grid": {"rsi2": {"rsi_entry": [5, 10]}}},
        trading={"alert_webhook": "https://example.org/token"},
    )
    text = settings_toml(settings)
    assert "token" not in text
    path = tmp_path / "kobe.toml"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("KOBE_CONFIG", str(path))
    monkeypatch.setenv("KOBE_HOME", str(tmp_path))
    assert config_pin(load_settings()) == config_pin(settings)


def test_a_limit_that_is_none_is_none_in_the_settings_on_the_page_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = Settings()
    unlimited: dict[str, dict[str, str]] = {}
    for section in type(usual).model_fields:
        for key, field in type(getattr(usual, section)).model_fields.items():
            if field.default is not None and type(None) in get_args(field.annotation):
                unlimited.setdefault(section, {})[key] = "none"
    assert {"max_notional_per_order", "max_daily_notional", "max_gap"} <= unlimited["policy"].keys()
    settings = Settings.model_validate(unlimited)
    (tmp_path / "kobe.toml").write_text(settings_toml(settings), encoding="utf-8")
    monkeypatch.setenv("KOBE_CONFIG", str(tmp_path / "kobe.toml"))
    monkeypatch.setenv("KOBE_HOME", str(tmp_path))
    read = load_settings()
    assert all(getattr(getattr(read, section), key) is None for section, keys in unlimited.items() for key in keys)
    assert config_pin(read) == config_pin(settings)


def test_the_page_names_pins_versions_vendor_span_and_checks(inputs: ReportInputs) -> None:
    page = build_report(inputs, NOW)
    for text in (
        *inputs.pins.values(),
        "0123456789ab",
        "kobe report --force",
        "synthetic",
        "missing_sessions",
        "too few years",
        "S001",
    ):
        assert text in page, text


def test_the_page_says_which_tries_it_charges_for(inputs: ReportInputs) -> None:
    page = build_report(inputs, NOW)
    assert "charge for every set that a walk-forward, a sweep or <code>kobe backtest --set</code> has tried" in page
    assert "backtests with --set ever tried on this warehouse" in page


def test_the_table_of_regimes_shows_the_numbers_of_its_chart(inputs: ReportInputs) -> None:
    page = build_report(inputs, NOW)
    drawn = payload_of(page)["books"]["rsi2|canonical"]["regimes"]
    table = page.split('aria-label="Regimes of rsi2 · fixed parameters"')[1].split("</table>")[0]
    assert '>Return a year</th><th scope="col" class="num">Holding,<br>as much money at work</th>' in table
    rows = [re.findall(r">([^<]*)</td>", row) for row in re.findall(r'<tr class="regime.*?</tr>', table, re.DOTALL)]
    assert len(rows) == len(drawn) > 5
    for (_, _, own, matched, _), row in zip(drawn, rows, strict=True):
        assert [float(text.rstrip(" %").replace("−", "-")) / 100 for text in row[2:4]] == pytest.approx(
            [own, matched], abs=6e-4
        )


def test_invented_bars_are_named_under_the_headline(inputs: ReportInputs) -> None:
    assert '<p class="invented">These bars are invented' in build_report(inputs, NOW)
    real = inputs.settings.model_copy(update={"data": DataSettings(vendor="files")})
    assert 'class="invented"' not in build_report(dataclasses.replace(inputs, settings=real), NOW)


def test_the_report_appears_whole_and_keeps_a_copy_named_by_content(tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    first = write_report("<html>one</html>", folder)
    second = write_report("<html>two</html>", folder)
    assert first == second == folder / LATEST
    assert second.read_text() == "<html>two</html>"
    kept = sorted(path.read_text() for path in folder.glob("kpi_report-*.html"))
    assert kept == ["<html>one</html>", "<html>two</html>"]
    assert [path.name for path in folder.iterdir() if path.name.endswith(".tmp")] == []


def page_naming(data: str, text: str) -> str:
    return f'<script type="application/json" id="summary">{json.dumps({"data": data})}</script>{text}'


def data_folder(number: int) -> str:
    return f"data-{number:012x}"


def test_only_the_newest_copies_stay_and_data_beside_them_goes_with_the_last_page_that_needs_it(tmp_path: Path) -> None:
    def write(number: int) -> None:
        packed = PackedData("", {}, {"bars-0.css": "bars"}, {"A": "bars-0.css"}, {}, data_folder(number // 2))
        write_report(page_naming(packed.folder, str(number)), tmp_path, packed, keep=2)
        copy = max(tmp_path.glob("kpi_report-*"), key=lambda path: path.stat().st_mtime_ns)
        os.utime(copy, (number, number))

    for number in range(1, 6):
        write(number)
    assert len(list(tmp_path.glob("kpi_report-*.html"))) == 2
    assert sorted(path.name for path in tmp_path.glob("data-*")) == [data_folder(2)]
    assert (tmp_path / data_folder(2) / "bars-0.css").read_text() == "bars"


def test_only_folders_that_are_named_as_kobe_names_them_are_removed(tmp_path: Path) -> None:
    for name in ("data-2024", "data-of-mine", "data-0123456789AB", "data-0123456789abc", data_folder(1)):
        (tmp_path / name).mkdir()
    write_report(page_naming("", "new"), tmp_path)
    assert sorted(path.name for path in tmp_path.glob("data-*")) == [
        "data-0123456789AB", "data-0123456789abc", "data-2024", "data-of-mine"
    ]  # fmt: skip


@pytest.mark.parametrize("spoiled", ['<script type="application/json" id="summary">{"da</script>', None])
def test_no_data_is_removed_while_a_page_does_not_say_what_it_needs(tmp_path: Path, spoiled: str | None) -> None:
    (tmp_path / data_folder(1)).mkdir()
    page = tmp_path / "the best.html"
    if spoiled is None:
        page.symlink_to(tmp_path / "gone.html")
    else:
        page.write_text(spoiled)
    write_report(page_naming("", "new"), tmp_path)
    assert (tmp_path / data_folder(1)).is_dir()
    page.unlink()
    write_report(page_naming("", "newer"), tmp_path)
    assert not (tmp_path / data_folder(1)).exists()


def test_a_write_that_fails_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_report("old", tmp_path)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report("new", tmp_path)
    assert path.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted({LATEST, *(p.name for p in tmp_path.glob("kpi_report-*"))})


def test_at_950_symbols_the_page_stays_under_4_megabytes_and_the_rest_lies_beside_it(tmp_path: Path) -> None:
    big = inputs_from(fabricate(symbols=950, sessions=1400, a_day=13), tmp_path, settings_for(950))
    # The sessions of ten years, by repeating the trades and curves of four under later fold numbers.
    folds = big.folds["fold"].max()
    grown = {
        name: pd.concat([getattr(big, name).assign(fold=getattr(big, name)["fold"] + shift * folds) for shift in range(3)])
        for name in ("folds", "trades", "equity")
    }
    inputs = dataclasses.replace(big, **grown)
    assert len(inputs.trades) > 150_000
    begun = time.process_time()
    books = books_of(inputs)
    packed = packed_data(inputs, books, "rsi2|canonical")
    page = build_report(inputs, NOW, books, packed)
    assert time.process_time() - begun < 12
    assert len(page.encode()) < 4_000_000
    path = write_report(page, tmp_path / "reports", packed)
    assert (
        len(trades_of(page, "rsi2|canonical"))
        == (inputs.trades[["strategy", "mode"]] == ["rsi2", "canonical"]).all(axis=1).sum()
    )
    for files in (packed.bar_files, packed.trade_files):
        assert all((path.parent / packed.folder / name).is_file() for name in files.values())
    assert set(packed.bar_files) == set(inputs.trades["symbol"].astype(str))
    assert len(set(packed.bar_files.values())) < 100
    for name in set(packed.bar_files.values()):
        text = (path.parent / packed.folder / name).read_text().split('"')[1]
        assert list(header_of(unpacked(text))[0]["symbols"]) == [s for s, file in packed.bar_files.items() if file == name]
    assert len(verdict_rows(inputs)) == 6


def test_the_benchmark_owner_is_no_book(inputs: ReportInputs) -> None:
    kpis = pd.concat([inputs.kpis, pd.DataFrame([[*UNIVERSE, "sharpe", 1.0]], columns=inputs.kpis.columns)])
    assert "universe|benchmark" not in payload_of(build_report(dataclasses.replace(inputs, kpis=kpis), NOW))["books"]
