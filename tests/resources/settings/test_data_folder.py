"""Where the data folder lies: KOBE_HOME for all, else one a vendor; commands refuse bars of another vendor."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from kobe_jobs.cli.main import app
from kobe_jobs.ops.backup.make import default_folder
from kobe_resources.errors import KobeError, UsageError
from kobe_resources.market_data import MarketDataError
from kobe_resources.settings import load
from kobe_resources.settings.load import kobe_home
from kobe_resources.warehouse.store import Warehouse


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No KOBE_HOME, and the folders of a clone elsewhere."""
    monkeypatch.delenv("KOBE_HOME", raising=False)
    monkeypatch.setattr(load, "DATA_FOLDERS", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def kobe(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_each_vendor_has_a_folder_of_its_own(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kobe_home() == folders / "sample"
    (tmp_path / "own.toml").write_text('[data]\nvendor = "files"\n')
    monkeypatch.setenv("KOBE_CONFIG", str(tmp_path / "own.toml"))
    assert kobe_home() == folders / "files"
    monkeypatch.setenv("KOBE_DATA__VENDOR", "polygon")
    assert kobe_home() == folders / "polygon"
    monkeypatch.setenv("KOBE_HOME", str(tmp_path / "one"))
    assert kobe_home() == tmp_path / "one"


def test_the_settings_of_the_current_folder_name_the_vendor(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "kobe.toml").write_text('[data]\nvendor = "synthetic"\n')
    assert kobe_home() == folders / "synthetic"


@pytest.mark.parametrize("vendor", ['"yahoo"', '"../elsewhere"', "7", "[1]"])
def test_a_vendor_that_is_none_names_no_folder(folders: Path, tmp_path: Path, vendor: str) -> None:
    (tmp_path / "kobe.toml").write_text(f"[data]\nvendor = {vendor}\n")
    with pytest.raises(UsageError, match=r"data\.vendor is .*, which is no vendor"):
        kobe_home()


@pytest.mark.parametrize("name", ["orders.sqlite", "kobe.duckdb"])
def test_data_of_the_time_of_one_folder_is_not_passed_over(folders: Path, name: str) -> None:
    folders.mkdir()
    (folders / name).touch()
    with pytest.raises(UsageError, match=rf"{name} is of a Kobe that kept all vendors in one folder: .*move"):
        kobe_home()


def test_backups_do_not_lie_among_the_data(folders: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("kobe_jobs.ops.backup.make.DATA_FOLDERS", folders)
    assert default_folder(kobe_home()) == folders.with_name("data-backups") / "sample"
    assert default_folder(tmp_path / "home") == tmp_path / "home-backups"


def test_the_kill_switch_stops_every_folder_that_could_trade(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for vendor in ("polygon", "files"):
        (folders / vendor).mkdir(parents=True)
        (folders / vendor / "orders.sqlite").touch()
    assert kobe("kill", "on", "fat finger").exit_code == 0
    assert {path.parent.name for path in folders.glob("*/KILL_SWITCH")} == {"sample", "polygon", "files"}
    output = kobe("kill", "off").stdout
    assert not (folders / "sample" / "KILL_SWITCH").exists()
    assert f"still on in {folders / 'polygon'}" in output
    (tmp_path / "kobe.toml").write_text("[data\n")
    (folders / "files" / "KILL_SWITCH").unlink()
    assert isinstance(kobe("kill", "on", "broken settings").exception, KobeError)
    assert (folders / "files" / "KILL_SWITCH").exists(), "settings that cannot be read stop nobody from stopping"


@pytest.mark.parametrize(
    "command",
    [
        ("report",),
        ("materialize", "signals"),
        ("backtest", "--strategy", "rsi2"),
        ("sweep",),
        ("universe", "show"),
        ("universe", "validate"),
        ("bars", "refresh"),
        ("bars", "revisions"),
        ("bars", "as-of", "2026-01-02", "--out", "{out}"),
        ("preflight",),
        ("trade",),
        ("reconcile",),
        ("replay", "--start", "2012-01-03", "--end", "2012-01-10"),
        ("trace", "abc"),
    ],
)
def test_bars_of_another_vendor_are_refused_by_every_command(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("KOBE_DATA__VENDOR", "files")
    monkeypatch.setenv("KOBE_DATA__FILES__PATH", str(tmp_path))
    rows = [f"A,2020-01-{day:02},1,2,0.5,1.5,100" for day in (2, 3, 6, 7)]
    (tmp_path / "bars.csv").write_text("\n".join(["symbol,session,open,high,low,close,volume", *rows]))
    assert kobe("bars", "refresh").exit_code == 0
    monkeypatch.setenv("KOBE_DATA__VENDOR", "synthetic")
    result = kobe(*(word.format(out=tmp_path / "out") for word in command))
    assert isinstance(result.exception, MarketDataError), result.output
    assert str(result.exception).startswith("the warehouse holds 4 bars loaded from files, and data.vendor is synthetic: ")
    assert Warehouse().rows("SELECT count(*) FROM daily_bars") == [(4,)]
    assert not (home / "broker-shadow").exists()


def test_invented_bars_do_not_take_the_place_of_the_sample_unasked(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_DATA__VENDOR", "synthetic")
    monkeypatch.setenv("KOBE_DATA__SYNTHETIC__SYMBOLS", "2")
    monkeypatch.setenv("KOBE_DATA__SYNTHETIC__SESSIONS", "20")
    assert kobe("bars", "refresh").exit_code == 0
    monkeypatch.setenv("KOBE_DATA__VENDOR", "sample")
    assert "20 bars loaded from synthetic" in str(kobe("bars", "refresh").exception)
    assert kobe("bars", "refresh", "--force").exit_code == 0
    assert Warehouse().rows("SELECT count(*) FROM daily_bars") == [(12_154,)]
