"""A newcomer's first hour, command by command as the README has it, on own bars; and every other command that a page names."""

from __future__ import annotations

import json
import runpy
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from kobe_jobs.cli.main import app
from kobe_resources.market_data.local.synthetic import SyntheticVendor
from kobe_resources.settings.models import DataSettings, SyntheticData
from kobe_resources.warehouse.store import Warehouse
from tests.support.drivers.command import Ended, kobe
from tests.support.drivers.documents import ROOT, fenced_commands, inline_commands, written_pages

SYMBOLS, SESSIONS = 8, 660
AFTERWARDS: dict[str, tuple[str, int]] = {
    "backup": ("backup saved", 0),
    "restore": ("restore saved --force", 1),
    "units": ("units --user kobe", 0),
    "health": ("health", 1),
    "preflight": ("preflight --json", 0),
    "trade": ("trade --session 2012-02-01", 0),
    "reconcile": ("reconcile", 0),
    "trace": ("trace", 0),
    "kill on": ("kill on looking", 0),
    "kill status": ("kill status", 0),
    "kill off": ("kill off", 0),
    "audit verify": ("audit verify", 0),
    "audit head": ("audit head", 0),
    "audit accept": ("audit accept because", 0),
    "account": ("account", 0),
    "tomorrow": ("tomorrow", 0),
    "alert test": ("alert test", 2),
    "account reset": ("account reset --json", 0),
    "universe validate": ("universe validate", 0),
    "bars refresh": ("bars refresh --json", 0),
    "config show": ("config show", 0),
    "config pin": ("config pin", 0),
    "config docs": ("config docs", 0),
    "materialize": ("materialize daily_bars", 0),
    "bars doctor": ("bars doctor", 0),
    "bars import": ("bars import downloads --dry-run", 0),
    "bars export": ("bars export adjusted.csv --adjusted", 0),
}
"""Commands that the pages name beside the README's blocks: how each is run here, and with which exit code it ends.

Health fails because no daemon runs here.
"""
ELSEWHERE = {"ui"}
"""Run by tests of their own, as processes: tests/jobs/ops/test_ui.py."""
ENDS_OTHERWISE = {"bars as-of": 1, "bars revisions": 2}
"""Of the README's own: nothing of these bars stood yet on the day that it names, and the symbol that it names is not theirs."""
DOWNLOADED = (
    "Date,Open,High,Low,Close,Volume\n2012-01-03,58.5,58.9,58.4,58.7,75555200\n2012-01-04,58.6,59.2,58.5,59.1,65005500\n"
)
REFUSED = """
    SELECT count(t.symbol), any_value(f.refused) FROM wf_folds f LEFT JOIN wf_trades t USING (strategy, mode, fold)
    WHERE f.strategy = 'rsi2' GROUP BY f.mode, f.fold
"""


@pytest.fixture(scope="module")
def first_hour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Ended]]:
    """How each command ended, by its line; the folder stays the current one, so that more can be asked."""
    folder = tmp_path_factory.mktemp("newcomer")
    bars = SyntheticVendor(
        DataSettings(vendor="synthetic", synthetic=SyntheticData(symbols=SYMBOLS, sessions=SESSIONS, seed=5))
    ).read()
    (folder / "my_bars").mkdir()
    columns = ["symbol", "session", "open", "high", "low", "close", "volume"]
    bars.bars[columns].to_csv(folder / "my_bars" / "bars.csv", index=False, date_format="%Y-%m-%d")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("KOBE_HOME", str(folder / "home"))
        # How much is luck takes its time, and is no part of the walk.
        for name in ("RESAMPLES", "PERMUTATIONS"):
            patch.setenv(f"KOBE_REPORT__{name}", "0")
        patch.setattr("webbrowser.open", lambda url: None)
        (folder / "saved").mkdir()
        (folder / "downloads").mkdir()
        (folder / "downloads" / "AAPL.csv").write_text(DOWNLOADED, encoding="utf-8")
        ended: dict[str, Ended] = {}
        for words in walk():
            if words[:2] == ["strategies", "new"]:
                # As the README says before.
                with (folder / "kobe.toml").open("a", encoding="utf-8") as settings:
                    settings.write('[strategy]\nfolder = "strategies"\n')
            ended[" ".join(words)] = kobe(*words)
        yield ended


def walk() -> list[list[str]]:
    """The README's blocks in order, then what the other pages name."""
    own = fenced_commands(ROOT / "README.md")
    return [*own, *(line.split() for line, _ in AFTERWARDS.values())]


@cache
def every_command() -> Any:
    """The tree of commands."""
    return typer.main.get_command(app)


def command_of(words: list[str]) -> tuple[str, Any]:
    """(name, command) that the words call. Fails where there is none, or where it has no option of that name."""
    found: Any = every_command()
    name: list[str] = []
    rest = list(words)
    while hasattr(found, "commands"):
        if not rest and found.invoke_without_command:
            break
        assert rest, f"kobe {' '.join(words)} names no command"
        if rest[0].startswith("-"):
            return "", found
        name.append(rest.pop(0))
        assert name[-1] in found.commands, f"kobe {' '.join(words)}: there is no {name[-1]}"
        found = found.commands[name[-1]]
    known = {option for parameter in found.params for option in parameter.opts} | {"--help"}
    assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= known, f"kobe {' '.join(words)}"
    return " ".join(name), found


@pytest.mark.parametrize("page", written_pages(), ids=lambda page: page.name)
def test_every_command_on_a_page_is_there_and_run_by_a_test(page: Path) -> None:
    run = {command_of(words)[0] for words in walk()} | ELSEWHERE
    named = set()
    for words in [*fenced_commands(page), *inline_commands(page)]:
        for one in [[*words[:-1], choice] for choice in words[-1].split("/")] if "/" in words[-1] else [words]:
            if one[0][0] != "…" and one[0] != "COMMAND":
                named.add(command_of(one)[0])
    assert named - run - {""} == set()


@pytest.mark.parametrize("line", [" ".join(words) for words in walk()])
def test_a_documented_command_ends_as_it_should(line: str, first_hour: dict[str, Ended]) -> None:
    expected = dict(AFTERWARDS.values())
    ended = first_hour[line]
    name = command_of(line.split())[0]
    assert ended.code == expected.get(line, ENDS_OTHERWISE.get(name, 0)), ended.err
    assert "Traceback" not in ended.err
    assert ended.code == 0 or len(ended.err.strip().splitlines()) <= 1


def test_the_settings_of_init_let_a_usual_sessions_signals_be_taken(first_hour: dict[str, Ended]) -> None:
    assert tomllib.loads(Path("kobe.toml").read_text(encoding="utf-8"))["sizing"]["mode"] == "equity"
    taken = no_room = too_dear = 0
    for trades, reasons in Warehouse().rows(REFUSED):
        taken += trades
        counted = json.loads(reasons)
        no_room += sum(counted.get(name, 0) for name in ("exceeds_daily_budget", "exceeds_exposure", "insufficient_cash"))
        too_dear += sum(counted.get(name, 0) for name in ("below_one_share", "exceeds_order_budget", "price_out_of_bounds"))
    assert taken > 10
    assert too_dear == 0
    assert no_room < taken / 5


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("idea_to_verdict", "verdict: "),
        ("own_bars", "refused: "),
        ("report_numbers", "The worst folds of rsi2"),
        ("trading_day", "\nSignal: "),
    ],
)
def test_an_example_runs_where_the_first_hour_ended(
    name: str,
    words: str,
    first_hour: dict[str, Ended],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = Path.cwd() / "home"
    monkeypatch.setenv("KOBE_HOME", str(home))
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    assert words in capsys.readouterr().out
