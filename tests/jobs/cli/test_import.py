"""`kobe bars import` at the terminal: the table first, then the write; what was wrong in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from kobe_jobs.cli.commands import bars
from kobe_resources.errors import KobeError, UsageError
from tests.support.builders import exports

BARS = exports.market(sessions=40)


class Said(NamedTuple):
    """The output, and the error that ended the command."""

    text: str
    error: KobeError | None


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KOBE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KOBE_CONFIG", str(tmp_path / "kobe.toml"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kobe.toml").write_text('[data]\nvendor = "files"\nfiles.path = "bars"\n')
    (tmp_path / "nasdaq_ALFA.csv").write_bytes(exports.nasdaq(BARS))
    return tmp_path


def run(*arguments: str) -> Said:
    app = typer.Typer()
    bars.register(app)

    @app.callback()
    def root() -> None:
        pass

    result = CliRunner().invoke(app, ["bars", *arguments], env={"COLUMNS": "160"})
    assert result.exception is None or isinstance(result.exception, KobeError | SystemExit), result.exception
    return Said(result.output, result.exception if isinstance(result.exception, KobeError) else None)


def test_a_dry_run_shows_the_columns_and_a_row_as_read_and_writes_nothing(home: Path) -> None:
    text = run("import", "nasdaq_ALFA.csv", "--dry-run").text
    newest = BARS[BARS["symbol"] == "ALFA"].iloc[-1]
    assert "nasdaq_ALFA.csv: Nasdaq; dates month/day/year" in text
    row = next(line.split() for line in text.splitlines() if line.startswith("Close/Last"))
    assert row == ["Close/Last", "close", f"${newest['close']:,.2f}", f"{newest['close']:.10g}"]
    assert "40 bars of 1 symbol," in text
    assert not (home / "bars").exists()


def test_an_import_then_a_refresh_loads_the_bars(home: Path) -> None:
    text = run("import", "nasdaq_ALFA.csv").text
    assert "bars.parquet: 40 bars added, 0 restated, 0 unchanged" in text
    assert "files: 40 bars, 1 symbols" in run("refresh").text
    (home / "nasdaq_ALFA.csv").write_bytes(exports.nasdaq(BARS.assign(**{name: BARS[name] * 4 for name in exports.PRICES})))
    assert "0 bars added, 40 restated" in run("import", "nasdaq_ALFA.csv").text
    said = run("refresh").text
    assert "40 bars of ALFA restated by 4" in said


def test_a_refresh_counts_all_rows_that_were_given_twice_and_sums_them_up(home: Path) -> None:
    (home / "bars").mkdir()
    (home / "bars" / "bars.csv").write_bytes(exports.text(pd.concat([BARS, BARS.iloc[:30]])))
    said = run("refresh").text
    assert "30 rows are set aside, and are not among the bars:" in said
    day = BARS["session"].iloc[0]
    assert f"  30 x bars.csv: 'ALFA {day}' was already given in line 2; counted once (the first: ALFA {day} line 82)" in said
    assert said.count("was already given") == 1


def test_a_refresh_counts_no_name_that_is_read_otherwise_among_the_rows_set_aside(home: Path) -> None:
    (home / "bars").mkdir()
    small = BARS.assign(symbol=BARS["symbol"].str.replace("ALFA", "alfa"))
    (home / "bars" / "bars.csv").write_bytes(exports.text(small))
    said = run("refresh").text
    assert "alfa is read as ALFA" in said
    assert "are not among the bars" not in said


def test_the_folder_that_imports_go_to_is_no_source_and_said_to_be_in_use(home: Path) -> None:
    assert run("import", "nasdaq_ALFA.csv").error is None
    error = run("import", "bars").error
    assert error is not None
    assert "bars.parquet is where an import writes to" in str(error)
    assert "in use without an import" in str(error)


def test_without_settings_the_next_command_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "kobe.toml").unlink()
    monkeypatch.delenv("KOBE_CONFIG")
    assert run("import", "nasdaq_ALFA.csv").text.endswith(f"next: kobe init --path {home}\n")
    (home / "kobe.toml").write_text('[data]\nvendor = "sample"\n')
    assert f'set it to "files" in {home / "kobe.toml"}' in run("import", "nasdaq_ALFA.csv").text


def test_what_is_taken_back_is_named_by_symbol(home: Path) -> None:
    (home / "bars").mkdir()
    (home / "bars" / "bars.csv").write_bytes(exports.text(BARS))
    run("refresh")
    (home / "bars" / "bars.csv").write_bytes(exports.text(BARS.iloc[3:]))
    assert "3 bars of ALFA taken back" in run("refresh").text


def test_as_json_everything_is_one_object(home: Path) -> None:
    printed = json.loads(run("import", "nasdaq_ALFA.csv", "--json").text)
    assert (printed["bars"], printed["symbols"], printed["written"]["bars"]["added"]) == (40, 1, 40)
    assert printed["shapes"][0]["shape"] == "Nasdaq"
    assert json.loads(run("import", "nasdaq_ALFA.csv", "--json", "--dry-run").text)["written"] is None


def test_a_column_is_overruled_and_a_wrong_option_is_a_usage_error(home: Path) -> None:
    odd = exports.one(BARS).rename(columns={"Close": "Adj"})
    (home / "ALFA.csv").write_bytes(exports.text(odd))
    assert "no column of close" in str(run("import", "ALFA.csv").error)
    assert "40 bars added" in run("import", "ALFA.csv", "--column", "close=Adj").text
    for wrong in (["--column", "closing=Adj"], ["--dates", "ymd"], ["--decimal", ";"]):
        assert isinstance(run("import", "ALFA.csv", *wrong).error, UsageError)


def test_a_file_without_a_symbol_asks_for_one(home: Path) -> None:
    (home / "HistoricalData_1700000000000.csv").write_bytes(exports.nasdaq(BARS))
    assert "say --symbol SYMBOL" in str(run("import", "HistoricalData_1700000000000.csv").error)
    assert "40 bars added" in run("import", "HistoricalData_1700000000000.csv", "--symbol", "ALFA").text


def test_a_path_that_is_not_there_is_refused(home: Path) -> None:
    assert "nowhere.csv does not exist" in str(run("import", "nowhere.csv").error)
