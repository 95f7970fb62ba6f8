"""`kobe init`: asks nothing twice, overwrites nothing, and what it writes lets a usual session's signals be taken."""

from __future__ import annotations

import datetime as dt
import fnmatch
import io
import json
import resource
import shlex
import stat
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import typer

from kobe_jobs.cli.first_settings.market_look import look_at_bars
from kobe_jobs.cli.first_settings.sizing import fitting_sizes
from kobe_resources.market_data.local.synthetic import SyntheticVendor
from kobe_resources.settings.load import PROJECT_ROOT, load_settings
from kobe_resources.settings.models import DataSettings, SyntheticData
from kobe_resources.warehouse.store import Warehouse
from tests.support.drivers.command import kobe
from tests.support.loopback_alpaca import KEY_ID, SECRET, LoopbackAlpaca, alpaca_market
from tests.support.loopback_polygon import LoopbackPolygon, Market, random_market

SYMBOLS, SESSIONS = 8, 620


class Terminal(io.StringIO):
    """A keyboard, as far as a program can tell."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _in_an_empty_folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO())


@pytest.fixture(scope="module")
def some_bars() -> pd.DataFrame:
    data = DataSettings(vendor="synthetic", synthetic=SyntheticData(symbols=SYMBOLS, sessions=SESSIONS, seed=5))
    return SyntheticVendor(data).read().bars[["symbol", "session", "open", "high", "low", "close", "volume"]]


@pytest.fixture
def own_bars(some_bars: pd.DataFrame, tmp_path: Path) -> Path:
    folder = tmp_path / "my bars"
    folder.mkdir()
    some_bars.to_csv(folder / "bars.csv", index=False, date_format="%Y-%m-%d")
    return folder


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is typed, in order; every answer must have been asked for."""
    typed: list[str] = []
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(typer, "prompt", lambda question, **options: typed.pop(0) or options["default"])
    yield typed
    assert typed == []


def test_own_bars_are_looked_at_and_the_next_two_commands_named(own_bars: Path) -> None:
    printed = json.loads(kobe("init", "--path", str(own_bars), "--json").out)
    assert printed["next"] == ["kobe report", "kobe universe show"]
    assert (printed["seen"]["symbols"], printed["seen"]["sessions"]) == (SYMBOLS, SESSIONS)
    written = tomllib.loads(Path("kobe.toml").read_text(encoding="utf-8"))
    assert written["data"]["files"]["path"] == "my bars"
    assert load_settings().sizing.mode == "equity"


def test_a_path_of_any_characters_is_written_as_it_is(own_bars: Path) -> None:
    own = own_bars.rename(own_bars.with_name('bars 📈 "\x7f"'))
    assert kobe("init", "--path", str(own)).code == 0
    assert load_settings().data.files.path == own


def test_the_settings_are_commented_and_name_what_was_seen(own_bars: Path) -> None:
    assert kobe("init", "--vendor", "files", "--path", str(own_bars)).code == 0
    text = Path("kobe.toml").read_text(encoding="utf-8")
    assert f"{SYMBOLS} symbols" in text
    assert "A usual session asks for" in text
    assert text.count("#") > 8


@pytest.mark.parametrize("stage", ["paper", "live"])
def test_first_steps_with_a_broker_are_orders_of_75_dollars(own_bars: Path, stage: str) -> None:
    assert kobe("init", "--path", str(own_bars), "--stage", stage, "--out", "steps.toml").code == 0
    written = tomllib.loads(Path("steps.toml").read_text(encoding="utf-8"))
    assert written["broker"]["stage"] == stage
    assert written["sizing"]["mode"] == "fixed"
    assert written["sizing"]["order_notional"] == written["policy"]["max_notional_per_order"] == 75
    assert written["policy"]["max_daily_notional"] == 75


def test_the_data_folder_is_named_and_that_it_holds_other_bars(own_bars: Path, home: Path) -> None:
    first = kobe("init", "--path", str(own_bars))
    assert f"data folder {home}" in first.out
    assert "already" not in first.out
    store_bars()
    Path("kobe.toml").unlink()
    again = kobe("init", "--path", str(own_bars))
    own = shlex.quote(str(Path("kobe-data").absolute()))
    assert f"it holds 1 bar of files already: give these bars a folder of their own, export KOBE_HOME={own}" in again.out


def store_bars() -> None:
    bar = dict.fromkeys(("open", "high", "low", "close", "volume"), 10.0)
    row = {"symbol": "KO", "session": dt.date(2013, 1, 2), **bar, "source": "files", "fetched_at": dt.datetime.now(dt.UTC)}
    Warehouse().replace({"daily_bars": pd.DataFrame([row])})


def test_nothing_is_overwritten(own_bars: Path) -> None:
    Path("kobe.toml").write_text("# mine\n", encoding="utf-8")
    ended = kobe("init", "--path", str(own_bars))
    assert ended.code == 2
    assert "is there already" in ended.line
    assert Path("kobe.toml").read_text(encoding="utf-8") == "# mine\n"


def test_a_full_disk_leaves_no_half_of_a_file() -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        ended = kobe("init", "--vendor", "sample")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert ended.code == 1
    assert "kobe.toml cannot be written" in ended.line
    assert not Path("kobe.toml").exists()


def test_without_a_terminal_the_missing_option_is_named() -> None:
    ended = kobe("init")
    assert ended.code == 2
    assert "say --vendor" in ended.line
    assert "say --path" in kobe("init", "--vendor", "files").line
    assert "POLYGON_API_KEY is not set" in kobe("init", "--vendor", "polygon").line
    assert "ALPACA_API_KEY_ID and ALPACA_API_SECRET_KEY are not set" in kobe("init", "--vendor", "alpaca").line
    assert not Path("kobe.toml").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--vendor", "files", "--path", "nowhere"), "does not exist"),
        (("--vendor", "sample", "--path", "x"), "--path is for own files"),
        (("--vendor", "sample", "--out", "no/folder.toml"), "is no folder"),
        (("--vendor", "sample", "--cash", "-5"), "--cash"),
        (("--vendor", "bloomberg"), "bloomberg"),
    ],
)
def test_answers_that_make_no_sense_are_refused_in_one_line(options: tuple[str, ...], words: str) -> None:
    ended = kobe("init", *options)
    assert ended.code in (1, 2)
    assert words in ended.line
    assert not Path("kobe.toml").exists()


def test_every_question_is_asked_once(own_bars: Path, answers: list[str]) -> None:
    answers += ["bonds", "files", str(own_bars / "nowhere"), str(own_bars), "much", "$20,000"]
    ended = kobe("init")
    assert ended.code == 0, ended.err
    assert load_settings().simulation.initial_cash == 20_000
    assert load_settings().data.files.path == own_bars


def test_an_option_is_not_asked_for(answers: list[str]) -> None:
    answers += [""]
    assert kobe("init", "--vendor", "sample").code == 0
    settings = load_settings()
    assert (settings.data.vendor, settings.simulation.initial_cash, settings.sizing.whole_shares) == ("sample", 1000, False)


def polygon_with(sessions: int) -> LoopbackPolygon:
    """A Polygon that has so many sessions of SPY up to today."""
    today = dt.datetime.now(dt.UTC).date()
    bars = random_market(1, sessions, 1, today - dt.timedelta(days=1)).bars
    return LoopbackPolygon(Market(bars.assign(symbol="SPY")))


def test_a_typed_key_is_kept_for_its_owner_alone(answers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with polygon_with(20) as server:
        monkeypatch.setenv("KOBE_DATA__POLYGON__BASE_URL", server.url)
        monkeypatch.setenv("KOBE_ENV_FILE", "")
        answers += ["polygon", server.key, ""]
        ended = kobe("init")
    assert ended.code == 0, ended.err
    kept = Path("keys.env")
    assert kept.read_text(encoding="utf-8") == f"POLYGON_API_KEY={server.key}\n"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert server.key not in ended.out + ended.err + Path("kobe.toml").read_text(encoding="utf-8")
    assert "KOBE_ENV_FILE=" in ended.out


def test_nothing_that_holds_a_key_is_offered_to_git(answers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with polygon_with(20) as server:
        monkeypatch.setenv("KOBE_DATA__POLYGON__BASE_URL", server.url)
        monkeypatch.setenv("KOBE_ENV_FILE", "")
        answers += ["polygon", server.key, ""]
        assert kobe("init").code == 0
    # Patterns without a slash: they leave out a file of that name in any folder.
    lines = (PROJECT_ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith(("#", "!")) and "/" not in line]
    files = [path for path in Path().rglob("*") if path.is_file()]
    secret = {path for path in files if server.key in path.read_text(encoding="utf-8", errors="replace")}
    assert Path("keys.env") in secret
    # The addresses of [alerts] are secrets too.
    for path in secret | {Path("kobe.toml")}:
        assert any(fnmatch.fnmatchcase(path.name, pattern) for pattern in patterns), path


@pytest.mark.parametrize(("sessions", "years", "calls"), [(2700, 10, 0), (480, 1.5, 5)])
def test_the_plan_of_a_polygon_key_decides_years_and_pace(
    sessions: int, years: float, calls: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    with polygon_with(sessions) as server:
        monkeypatch.setenv("KOBE_DATA__POLYGON__BASE_URL", server.url)
        monkeypatch.setenv("POLYGON_API_KEY", server.key)
        ended = kobe("init", "--vendor", "polygon")
        assert ended.code == 0, ended.err
        assert len(server.calls) == 1
    settings = load_settings()
    assert (settings.universe.min_years, settings.data.polygon.calls_per_minute) == (years, calls)
    assert settings.sizing.mode == "equity"
    assert ended.out.strip().endswith("kobe bars refresh\n  kobe report")


def test_keys_that_the_vendor_does_not_know_write_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with LoopbackAlpaca(alpaca_market(2, 10, 1, dt.date(2026, 11, 20))) as server:
        for name in ("BASE_URL", "ASSETS_URL"):
            monkeypatch.setenv(f"KOBE_DATA__ALPACA__{name}", server.url)
        monkeypatch.setenv("ALPACA_API_KEY_ID", KEY_ID)
        monkeypatch.setenv("ALPACA_API_SECRET_KEY", "mistyped")
        refused = kobe("init", "--vendor", "alpaca")
        assert refused.code == 1
        assert "key" in refused.line
        assert not Path("kobe.toml").exists()
        monkeypatch.setenv("ALPACA_API_SECRET_KEY", SECRET)
        assert "the keys are good" in kobe("init", "--vendor", "alpaca").out
    assert load_settings().universe.cap == 950


def test_a_vendor_that_does_not_answer_leaves_the_keys_unproven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_DATA__POLYGON__BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("POLYGON_API_KEY", "a-key-of-some-length")
    ended = kobe("init", "--vendor", "polygon")
    assert ended.code == 0, ended.err
    assert "not proven" in ended.out


def test_a_shorter_history_gets_shorter_windows(some_bars: pd.DataFrame, tmp_path: Path) -> None:
    some_bars[some_bars["session"] < "2011-09-01"].to_csv(tmp_path / "bars.csv", index=False, date_format="%Y-%m-%d")
    assert kobe("init", "--path", "bars.csv").code == 0
    windows = load_settings().walk_forward
    assert windows.warmup + windows.train + windows.test < 420


def test_sizes_share_the_account_out_and_pay_for_a_share() -> None:
    many = fitting_sizes(100_000, dear=400, highest=800, signals=45, positions=125)
    assert many.fraction == pytest.approx(1 / 125, rel=0.05)
    assert many.whole_shares
    assert many.daily_fraction >= 45 * many.fraction
    dear = fitting_sizes(10_000, dear=400, highest=3000, signals=45, positions=125)
    assert dear.fraction * 10_000 >= 400
    assert dear.max_price >= 3000 * 1.25
    tiny = fitting_sizes(1_000, dear=900, highest=900, signals=3, positions=5)
    assert not tiny.whole_shares


@pytest.mark.parametrize(("dear", "whole_shares"), [(200.0, True), (250.0, True), (251.0, False), (400.0, False)])
def test_whole_shares_are_asked_for_where_the_largest_order_pays_for_one(dear: float, whole_shares: bool) -> None:
    assert fitting_sizes(1_000, dear, dear, signals=3, positions=5).whole_shares is whole_shares


@pytest.mark.parametrize(("highest", "ceiling"), [(800.0, 1000.0), (801.0, 2000.0), (1000.0, 2000.0), (5400.0, 20000.0)])
def test_the_highest_limit_leaves_the_dearest_symbol_room_to_rise(highest: float, ceiling: float) -> None:
    assert fitting_sizes(100_000, 200.0, highest, signals=3, positions=5).max_price == ceiling


def test_usual_signals_are_counted_from_the_bars() -> None:
    days = pd.bdate_range("2020-01-01", periods=300)
    # One session in seven closes after four falls in a row, far above the mean of the 200 before.
    falling = pd.Series(([8.0] * 3 + [-5.0] * 4) * 43)[:300].cumsum() + 100
    rising = pd.Series(range(100, 400), dtype=float)
    closes = {"A": falling, "B": falling, "C": rising}
    prices = {name: dict.fromkeys(("open", "high", "low", "close"), close) for name, close in closes.items()}
    frames = [pd.DataFrame({"symbol": name, "session": days, **prices[name], "volume": 1e6}) for name in closes]
    look = look_at_bars(pd.concat(frames))
    assert (look.signals, look.positions) == (2, 2)
    assert look.prices[2] == 399
    cheap = pd.concat([frame.assign(**{name: frame[name] * 0.01 for name in prices["A"]}) for frame in frames])
    assert (look_at_bars(cheap).signals, look_at_bars(cheap).positions) == (1, 1), "closes under min_price signal nothing"
