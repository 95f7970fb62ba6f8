"""The console script from outside: files it writes, exit codes, one line on stderr."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from kobe_assets.research.metrics import FIGURES
from kobe_jobs.research_run.stale import bring_up_to_date
from kobe_resources.market_data import open_vendor
from kobe_resources.market_data.local.synthetic import SyntheticVendor
from kobe_resources.settings.load import load_settings
from kobe_resources.settings.models import DataSettings, SyntheticData
from kobe_resources.settings.secrets import Secrets
from kobe_resources.warehouse.store import Warehouse
from tests.support.drivers import command
from tests.support.drivers.command import Ended

TRADE_COLUMNS = [
    "entered_by",
    "symbol",
    "side",
    "signal_session",
    "entry_session",
    "entry_price",
    "exit_session",
    "exit_price",
    "exit_reason",
    "shares",
    "qty",
    "fees",
    "dividends",
    "pnl",
    "bars_held",
    "mae",
    "mfe",
]


def kobe(*arguments: str) -> Ended:
    """A command that ended well, in this process."""
    done = command.kobe(*arguments)
    assert done.code == 0, done.err
    return done


def as_process(*arguments: str) -> Ended:
    """How a process of its own ended: nothing that the libraries say or do at its end is missed."""
    done = subprocess.run(
        [sys.executable, "-m", "kobe_jobs.cli", *arguments], capture_output=True, text=True, timeout=240, check=False
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def refusal(done: Ended, code: int) -> str:
    assert done.code == code, done.err
    return done.line


@pytest.fixture(scope="module")
def own_bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of bars.csv and splits.csv as a person would bring them."""
    folder = tmp_path_factory.mktemp("own")
    data = DataSettings(vendor="synthetic", synthetic=SyntheticData(symbols=8, sessions=700, seed=3))
    load = SyntheticVendor(data).read()
    columns = ["symbol", "session", "open", "high", "low", "close", "volume"]
    load.bars[columns].to_csv(folder / "bars.csv", index=False, date_format="%Y-%m-%d")
    load.splits[["symbol", "execution_date", "split_from", "split_to"]].to_csv(folder / "splits.csv", index=False)
    return folder


OF_OWN_BARS = {"DATA__VENDOR": "files", "UNIVERSE__MIN_YEARS": "1", "POLICY__ALLOW_SHORTS": "true"}


def choose_own_bars(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Settings under which those bars are traded."""
    for name, value in {**OF_OWN_BARS, "DATA__FILES__PATH": str(folder)}.items():
        patch.setenv(f"KOBE_{name}", value)


@pytest.fixture(scope="module")
def home_of_own_bars(own_bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that has loaded them, up to the indicators."""
    folder = tmp_path_factory.mktemp("loaded") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOBE_HOME", str(folder))
        choose_own_bars(own_bars, patch)
        bring_up_to_date(load_settings(), targets=("daily_bars", "universe", "indicators"))
    return folder


@pytest.fixture
def use_own_bars(home: Path, home_of_own_bars: Path, own_bars: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(home_of_own_bars, home)
    choose_own_bars(own_bars, monkeypatch)
    return own_bars


def backtest(out: Path, strategy: str = "rsi2") -> dict[str, object]:
    window = ("--start", "2011-01-03", "--end", "2012-06-29")
    kobe("backtest", "--strategy", strategy, *window, "--out", str(out))
    summary: dict[str, object] = json.loads((out / "summary.json").read_text())
    return summary


def test_help_keeps_the_settings_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = kobe("sweep", "--help").out
    assert "[walk_forward.grid.<strategy>]" in shown
    assert "[compute] says where it runs" in shown


def test_help_says_that_looking_at_backtests_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert "a try that is not counted" in kobe("backtest", "--help").out


def test_backtest_writes_trades_equity_and_summary_that_agree(
    use_own_bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOBE_UNIVERSE__RELEASE", '{"S00000": "looked at", "NOBODY": "mistyped"}')
    window = ("--strategy", "rsi2", "--start", "2011-01-03", "--end", "2012-06-29")
    done = kobe("backtest", *window, "--out", str(tmp_path / "out"))
    for label in ("Growth a year", "Volatility", "Worst fall", "Winning trades", "Money at work"):
        assert re.search(rf"{label}\s+│ −?[\d.]+ %", done.out), done.out
    assert re.search(r"Net profit\s+│ −?\$[\d.,]+", done.out)
    assert re.findall(r"release names (\w+),", done.err) == ["NOBODY"]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    trades = pd.read_csv(tmp_path / "out" / "trade_list.csv")
    equity = pd.read_csv(tmp_path / "out" / "equity_curve.csv")
    assert list(trades.columns) == TRADE_COLUMNS
    assert {"long", "short"} == set(trades["side"])
    assert {*FIGURES} <= summary.keys()
    assert equity["equity"].iloc[-1] == pytest.approx(100_000 + trades["pnl"].sum(), abs=0.005)
    assert summary["net_pnl"] == pytest.approx(trades["pnl"].sum(), abs=0.005)
    assert summary["trades"] == len(trades) > 20
    assert summary["final_equity"] == pytest.approx(equity["equity"].iloc[-1])
    assert summary["average_win"] == pytest.approx(trades.loc[trades["pnl"] > 0, "pnl"].mean())
    by_reason = trades.groupby("exit_reason")["pnl"].agg(["size", "sum"])
    assert {row["reason"]: row["trades"] for row in summary["exits_by_reason"]} == by_reason["size"].to_dict()
    for row in summary["exits_by_reason"]:
        assert row["net_pnl"] == pytest.approx(by_reason["sum"][row["reason"]])
        assert re.search(rf"│ {row['reason']} +│ +{row['trades']} │ +−?\$[\d,]+\.\d\d │", done.out), done.out
    returns = equity["equity"] / np.append(100_000, equity["equity"][:-1]) - 1
    assert summary["sharpe"] == pytest.approx(returns.mean() / returns.std(ddof=1) * np.sqrt(252), rel=1e-9)


def test_version_is_the_package_s() -> None:
    assert as_process("--version").out.strip() == f"kobe {version('kobe')}"


def test_the_order_of_rows_in_a_file_and_its_format_change_no_trade(
    use_own_bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backtest(tmp_path / "one", "rsi2_ibs")
    shuffled = tmp_path / "shuffled"
    shuffled.mkdir()
    bars = pd.read_csv(use_own_bars / "bars.csv", parse_dates=["session"]).sample(frac=1, random_state=5)  # noqa: F841
    duckdb.sql(f"COPY (SELECT * REPLACE (session::DATE AS session) FROM bars) TO '{shuffled / 'bars.parquet'}'")
    (shuffled / "splits.csv").write_text((use_own_bars / "splits.csv").read_text())
    monkeypatch.setenv("KOBE_DATA__FILES__PATH", str(shuffled))
    monkeypatch.setenv("KOBE_HOME", str(tmp_path / "other home"))
    backtest(tmp_path / "two", "rsi2_ibs")
    assert (tmp_path / "one" / "trade_list.csv").read_text() == (tmp_path / "two" / "trade_list.csv").read_text()


def test_a_tab_completes_commands() -> None:
    asked = {"_KOBE_COMPLETE": "complete_bash", "COMP_WORDS": "kobe un", "COMP_CWORD": "1"}
    command = [str(Path(sys.executable).with_name("kobe"))]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **asked}, check=True)
    assert set(done.stdout.split()) == {"universe", "units"}


def test_report_prints_a_verdict_the_page_and_warnings_and_then_has_nothing_to_do(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOBE_UNIVERSE__MIN_SYMBOLS", "950")
    first = kobe("report", "--json")
    printed = json.loads(first.out)
    assert Path(printed["report"]).is_file()
    assert {(row["strategy"], row["mode"]) for row in printed["verdict"]} == {
        (strategy, mode) for strategy in ("rsi2", "ibs", "rsi2_ibs") for mode in ("canonical", "optimized")
    }
    warnings = {warning["name"]: warning["text"] for warning in printed["warnings"]}
    assert warnings["universe_coverage"] == "4 symbols hold, 950 are wanted (universe.min_symbols)"
    assert "synthetic_bars" not in warnings
    second = kobe("report")
    assert printed["headline"] == "None of these strategies deserves money."
    assert f"\n{printed['headline']}\nOut of sample" in second.out
    assert "\nno kobe.toml here: the embedded sample (your own bars: `kobe init`)\n" in second.out
    row = printed["verdict"][0]
    assert row["failed"][0]["change"] in second.out, "what would have to change"
    bar = next(gate["needs"] for gate in row["failed"] if gate["gate"] == "beats_holding").removeprefix("≥ ")
    assert re.search(rf"│ holding +│ equal parts +│ +{bar} │", second.out), "the gate's own bar"
    for name, text in warnings.items():
        assert f"\nwarning: {name}: {text}\n" in second.out
    assert "everything was up to date" in second.out
    assert "does not deserve money" in second.out
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    narrow = re.sub(r"\x1b\[[0-9;]*m", "", kobe("report").out).splitlines()
    assert sum("does not deserve money" in line for line in narrow) == 6
    assert sum("Sharpe 0." in line for line in narrow) == 7
    assert sum(line.startswith("holding, equal parts: Sharpe 0.") for line in narrow) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (
            ("backtest", "--strategy", "magic", "--start", "2011-01-03", "--end", "2011-02-01", "--out", "x"),
            2,
            "there is no strategy 'magic'",
        ),
        (
            ("backtest", "--strategy", "rsi2", "--start", "1911-01-03", "--end", "1911-02-01", "--out", "x"),
            2,
            "no session lies between",
        ),
        (
            ("materialize", "no_such_asset"),
            2,
            "'no_such_asset' selects no asset that can be computed: use daily_bars, universe,",
        ),
        (("materialize", "orders"), 2, "use daily_bars"),
        (("materialize", "column:close"), 2, "use daily_bars"),
        (("no-such-command",), 2, "No such command 'no-such-command': see `kobe --help`"),
        (("universe", "sho"), 2, "did you mean 'show': see `kobe universe --help`"),
        (("sweep", "--strategy", "magic"), 2, "use one of ibs, rsi2, rsi2_ibs"),
        ((), 2, "name a command: see `kobe --help`"),
        (("universe",), 2, "name a command: see `kobe universe --help`"),
    ],
)
def test_bad_usage_ends_in_one_line_and_exit_2(
    use_own_bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in refusal(command.kobe(*arguments), code)


def test_a_selection_of_assets_shows_no_warning_of_dagster(home: Path, recwarn: pytest.WarningsRecorder) -> None:
    assert "'tag:x' selects no asset" in refusal(command.kobe("materialize", "tag:x"), 2)
    assert not [str(one.message) for one in recwarn if "AssetSelection" in str(one.message)]


def test_bad_settings_end_in_one_line_and_exit_2(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "kobe.toml"
    monkeypatch.setenv("KOBE_CONFIG", str(config))
    for text, words in {
        "[costs]\nslipage_bps = 5\n": "slipage_bps is no setting (did you mean slippage_bps?): see `kobe config docs`",
        "[simulaton]\nslippage_bps = 5\n": "simulaton is no setting (did you mean simulation?)",
        "[data.filez]\npath = 'x'\n": "data.filez is no setting (did you mean files?)",
        "[simulation]\nmoon = 5\n": "simulation.moon is no setting: see",
        "[costs]\nslippage_bps = 'much'\n": "costs.slippage_bps",
        "[walk_forward.grid.rsi2]\nmoon = [1]\n": "rsi2 has no parameter 'moon'",
        "[simulation\n": "cannot be read as TOML",
        "[data]\nvendor = ['files']\n": "data.vendor",
    }.items():
        config.write_text(text)
        assert words in refusal(command.kobe("report"), 2)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("KOBE_UNIVERSE__RELEASE", "IBM", "write a table as JSON"),
        ("KOBE_data__vendor", "files", "in capitals"),
        ("kobe_strategy__rsi_entry", "5", "in capitals"),
        ("KOBE_STRATEGY__RSI_ENTY", "5", "strategy.rsi_enty is no setting (did you mean rsi_entry?): see `kobe config docs`"),
        ("KOBE_STRATEGIE__RSI_ENTRY", "5", "is no setting (did you mean strategy?): unset it, or see `kobe config docs`"),
    ],
)
def test_a_bad_environment_ends_in_one_line_and_exit_2(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    assert words in refusal(command.kobe("config", "pin"), 2)


def test_a_vendor_named_as_json_brings_its_defaults(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "candidates.csv").write_text("symbol,has_options\nA,true\n")
    monkeypatch.setenv("KOBE_DATA__VENDOR", "files")
    monkeypatch.setenv("KOBE_DATA__FILES", json.dumps({"path": str(tmp_path / "bars.csv")}))
    assert load_settings().universe.require_options
    (tmp_path / "candidates.csv").write_text("symbol\nA\n")
    assert not load_settings().universe.require_options


def test_a_bad_file_is_refused_before_anything_is_written(
    use_own_bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_vendor(load_settings(), Secrets()).sync(Warehouse())
    before = Warehouse().content_version("daily_bars")
    bad = tmp_path / "bad.csv"
    bad.write_text("symbol,session,open,high,low,close,volume\nA,2020-01-02,1,2,0.5,1.5,10\nA,2020-01-03,1,0.2,0.5,1.5,10\n")
    monkeypatch.setenv("KOBE_DATA__FILES__PATH", str(bad))
    line = refusal(as_process("report"), 1)
    assert "bad.csv" in line
    assert "line 3" in line
    assert Warehouse().content_version("daily_bars") == before


def test_an_exit_code_of_a_command_reaches_the_shell(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_UNIVERSE__MIN_SYMBOLS", "900")
    kobe("bars", "refresh")
    assert as_process("universe", "validate").code == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_says_that_nothing_is_lost(home: Path, number: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-m", "kobe_jobs.cli", "report"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    by = time.monotonic() + 60
    while not (home / "kobe.duckdb").exists() and time.monotonic() < by:
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(60) == 130
    assert "what was finished is kept" in process.stderr.read().splitlines()[-1]


def test_an_interrupt_while_the_command_loads_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from kobe_jobs.cli import console

    class Interrupting:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "kobe_jobs.cli.main":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "kobe_jobs.cli.main", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        console.main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "kobe: stopped before it began\n"


def test_ctrl_c_inside_a_step_is_one_line_and_no_failure_of_the_step(home: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "kobe_jobs.cli", "report"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    while not process.stdout.readline().strip().startswith("indicators"):
        assert process.poll() is None
    # A terminal sends it to all that the command has started, too.
    os.killpg(process.pid, signal.SIGINT)
    said = process.stdout.read()
    assert process.wait(60) == 130, said
    *steps, last = said.splitlines()
    assert all(line.endswith(" s") for line in steps), said
    assert "what was finished is kept" in last


SWALLOWED = """
import signal
from kobe_jobs.cli import main
def app(**_):
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ValueError("a library is missing") from None
main.app = app
main.main()
"""


def test_an_interrupt_that_a_library_tells_as_an_error_of_its_own_is_one(home: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SWALLOWED], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 130, done.stderr
    assert done.stderr.count("\n") == 1


def test_every_command_warns_of_a_key_file_that_others_can_read(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "keys.env"
    keys.write_text("POLYGON_API_KEY=abcdefgh\n")
    monkeypatch.setenv("KOBE_ENV_FILE", str(keys))
    keys.chmod(0o644)
    assert "chmod 600" in kobe("config", "pin").err
    keys.chmod(0o600)
    assert kobe("config", "pin").err == ""


@pytest.mark.parametrize("room", [60_000, 150_000], ids=["history", "warehouse"])
def test_a_full_disk_ends_in_one_line_and_the_next_run_goes_on(home: Path, room: int) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    full = subprocess.run(
        [sys.executable, "-m", "kobe_jobs.cli", "materialize", "daily_bars"],
        capture_output=True, text=True, timeout=240, check=False, preexec_fn=limit,
    )  # fmt: skip
    assert full.returncode == 1
    assert len(full.stderr.splitlines()) == 1, full.stderr
    assert "has room" in full.stderr
    kobe("materialize", "daily_bars")
    assert Warehouse().rows("SELECT count(*) FROM daily_bars") == [(12_154,)]


def test_a_warehouse_that_breaks_off_ends_in_one_line(home: Path) -> None:
    kobe("bars", "refresh")
    path = Warehouse().path
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 3)
    assert "restore a backup" in refusal(as_process("report"), 1)


@pytest.mark.parametrize(("closed", "code"), [("1", 0), ("2", 2)])
def test_a_stream_that_is_closed_stops_no_command(home: Path, closed: str, code: int) -> None:
    words = "config pin" if code == 0 else "no-such-command"
    line = f"{sys.executable} -m kobe_jobs.cli {words} {closed}>&-"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_output_that_cannot_be_written_ends_in_one_line(home: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kobe_jobs.cli", "config", "show"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
