"""Every command at 80 columns, into a pipe and as JSON: tables that fit, nothing cut, one JSON value, numbers with a unit."""

from __future__ import annotations

import datetime as dt
import io
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.table import Table

from kobe_jobs.cli.examples import EXAMPLES
from kobe_jobs.cli.main import app
from kobe_jobs.cli.reference.json_units import UNITS
from kobe_jobs.cli.screen import Screen
from kobe_resources.market_data.local.synthetic import SyntheticVendor
from kobe_resources.settings.models import DataSettings, SyntheticData
from kobe_resources.warehouse import checkpoint_journal
from tests.support.drivers.command import Ended, kobe

UNIT_OF = {name: unit for unit, names in UNITS.items() for name in names}
SETTINGS = """
[data]
vendor = "synthetic"
synthetic.symbols = 4
synthetic.sessions = 560

[report]
resamples = 0
permutations = 0

[policy]
allow_shorts = true

[walk_forward.grid]
rsi2 = { rsi_entry = [10, 15], rsi_exit = [60, 70] }
ibs = { ibs_entry = [0.2] }
rsi2_ibs = { rsi_entry = [10] }
"""
FIRST, LAST = "2011-06-01", "2011-06-14"
COMMANDS = (
    "report", "backtest --strategy rsi2", "sweep --heatmap", "materialize universe", "universe show --all",
    "universe validate", "strategies list", "strategies check rsi2", "bars refresh", "bars revisions",
    "bars export bars.csv", "bars doctor", "bars as-of NOW --out as_it_was", "bars import downloads --dry-run",
    "config show", "config pin", "init --vendor sample --out new.toml", f"trade --session {LAST}",
    f"trade --session {FIRST} --through {LAST}", "trace", "tomorrow", "account", "preflight", "reconcile",
    f"replay --start {FIRST} --end {LAST}", "health", "audit verify", "audit head", "kill status", "backup saved.tar.gz",
)  # fmt: skip
WITHOUT_FIGURES = {"config pin", "audit head"}
"""Commands that print no figure, and have no --json."""
FAILS = {"health": 1}
"""health: no daemon runs for this folder."""


@pytest.fixture(scope="module")
def traded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The current folder: settings, a data folder where all was computed and some sessions were traded, files to import."""
    folder = tmp_path_factory.mktemp("output")
    (folder / "kobe.toml").write_text(SETTINGS, encoding="utf-8")
    (folder / "downloads").mkdir()
    bars = SyntheticVendor(DataSettings(vendor="synthetic", synthetic=SyntheticData(symbols=2, sessions=40))).read().bars
    bars.to_csv(folder / "downloads" / "prices.csv", index=False, date_format="%Y-%m-%d")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("KOBE_HOME", str(folder / "home"))
        for line in ("report", "sweep", f"trade --session {FIRST} --through {LAST}"):
            ended = kobe(*line.split())
            assert ended.code == 0, ended.err
        yield folder


def run(line: str, *more: str) -> Ended:
    """The command in the folder, without what it wrote the last time."""
    for name in ("new.toml", "saved.tar.gz"):
        Path(name).unlink(missing_ok=True)
    shutil.rmtree("as_it_was", ignore_errors=True)
    now = dt.datetime.now(dt.UTC).isoformat()
    ended = kobe(*line.replace("NOW", now).split(), *more)
    assert ended.code == FAILS.get(line, 0), ended.err
    return ended


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_fits_its_columns_and_its_json_is_one_value_with_units(
    traded: Path, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ended = run(line)
    wide = [row for row in (ended.out + ended.err).splitlines() if len(row.rstrip()) > 80 and " " in row.strip()]
    assert [row for row in wide if not re.search(r"\S{40}", row)] == []
    assert "…" not in ended.out + ended.err
    assert not re.search(r"(?<![\w.)\]-])-\d", ended.out), "the minus of people is −"
    if line in WITHOUT_FIGURES:
        return
    monkeypatch.delenv("COLUMNS")
    ended = run(line, "--json")
    strangers = {key for key, value in leaves(json.loads(ended.out)) if not UNIT_OF.get(key)}
    assert strangers == set()


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """(key, number) of all that is in the value; what is named by the user has the key above."""
    if isinstance(value, dict):
        for name, below in value.items():
            yield from leaves(below, key if key in UNIT_OF and name not in UNIT_OF else name)
    elif isinstance(value, list):
        for below in value:
            yield from leaves(below, key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield key, value


def test_strategies_stand_in_one_order_everywhere(traded: Path) -> None:
    orders = {
        "report": [row["strategy"] for row in json.loads(run("report", "--json").out)["verdict"]],
        "sweep": [row["strategy"] for row in json.loads(run("sweep", "--json").out)["best"]],
        "list": [row["name"] for row in json.loads(run("strategies list", "--json").out)],
    }
    assert [list(dict.fromkeys(found)) for found in orders.values()] == [["ibs", "rsi2", "rsi2_ibs"]] * 3


def test_nothing_is_cut_in_a_pipe_without_columns(traded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    newest = json.loads(run("trace", "--json").out)[0]["client_order_id"]
    assert newest in run("trace").out
    assert "does not deserve money" in run("report").out


@pytest.mark.parametrize("line", ["report", "preflight", "account", "tomorrow", "bars doctor", "universe validate"])
def test_a_command_that_reads_the_warehouse_opens_it_once(traded: Path, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    connect = checkpoint_journal.connect

    def counted(path: Path, read_only: bool = False) -> Any:
        opened.append(path)
        return connect(path, read_only)

    monkeypatch.setattr(checkpoint_journal, "connect", counted)
    run(line)
    assert opened == [traded / "home" / "kobe.duckdb"]


@pytest.mark.parametrize("width", [30, 60, 80, 120, 200])
def test_a_table_breaks_no_word(width: int) -> None:
    screen = Screen(file=io.StringIO(), width=width)
    table = Table("order", "why", title="Orders")
    order, why = "kobe-99467f0613446b2c", "the broker refused it because its price was too far from the market"
    table.add_row(order, why)
    screen.print(table)
    assert isinstance(screen.file, io.StringIO)
    words = re.findall(r"\S+", re.sub(r"[^\w\s.-]", " ", screen.file.getvalue()))
    assert set(why.split()) | {order, "Orders"} <= set(words)
    assert max(map(len, screen.file.getvalue().splitlines())) <= width


def commands(command: Any = None, name: str = "") -> Iterator[tuple[str, Any]]:
    """(name, command) of every command that does something."""
    command = command or typer.main.get_command(app)
    for word, below in getattr(command, "commands", {}).items():
        yield from commands(below, f"{name} {word}".strip())
    if name and (not getattr(command, "commands", {}) or command.invoke_without_command):
        yield name, command


def test_every_command_has_an_example_that_its_options_take() -> None:
    assert EXAMPLES.keys() == dict(commands()).keys()
    root = typer.main.get_command(app)
    for name, lines in EXAMPLES.items():
        for line in lines:
            words = shlex.split(line)
            assert words[: len(name.split())] == name.split()
            command: Any = root
            for word in name.split():
                command = command.commands[word]
            command.make_context(name, words[len(name.split()) :], resilient_parsing=False)


def test_help_shows_what_the_source_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rich reads [alerts] as markup where it is not escaped, and leaves it out."""
    monkeypatch.setenv("COLUMNS", "300")
    groups = [[], *sorted({(name.split()[0],) for name, _ in commands() if " " in name})]
    shown = "".join(kobe(*words, "--help").out for words in [*map(list, groups), *(name.split() for name, _ in commands())])
    for name, command in commands():
        said = " ".join([command.help or "", *(getattr(one, "help", "") or "" for one in command.params)])
        for bracket in re.findall(r"\[[^\]]+\]", said):
            assert bracket in shown, f"{name} loses {bracket}"
    assert "[alerts]" in shown


def test_less_than_a_cent_against_the_simulation_has_no_minus(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dataclasses import replace

    from kobe_jobs.cli.account_table import show_account
    from kobe_jobs.trading.account import look_at_account
    from kobe_jobs.trading.on_record import ledger_to_look_at
    from kobe_resources.warehouse.store import Warehouse
    from tests.support.builders.traded_home import market_settings, stand_before_the_end

    settings = market_settings(home)
    stand_before_the_end(settings)
    with ledger_to_look_at() as ledger:
        view = replace(look_at_account(settings, ledger, Warehouse()), equity=1000.0)
    show_account(view, [1000.001])
    assert "($0.00 against it)" in capsys.readouterr().out
