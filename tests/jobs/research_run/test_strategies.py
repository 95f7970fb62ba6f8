"""A declaration with a fault ends in one line: the strategy, the place, and what it may read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError

import kobe_assets.graph.own_strategies as own_strategies_module
from kobe_assets.graph.own_strategies import strategies_of
from kobe_assets.research.declared import ListingBars, values_of
from kobe_assets.research.language import custom, talib
from kobe_assets.research.panel import build_panel
from kobe_assets.research.strategies import STRATEGIES, Reading, StrategyBroken, StrategyFault
from kobe_assets.research.strategies.asking import satisfied, try_out
from kobe_jobs.research_run.strategy_check import unproven
from kobe_resources.errors import UsageError
from kobe_resources.settings.models import Settings
from tests.support.builders.own_strategies import CUSTOM, FAULTS, GOOD, write_strategies
from tests.support.drivers.command import kobe


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_one_line_with_file_line_and_mend(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kobe_jobs.research_run.strategies import bad_strategy

    files, line, words = FAULTS[fault]
    folder = write_strategies(tmp_path, files)
    settings = Settings.model_validate({"strategy": {"folder": folder}})
    with pytest.raises((ImportError, StrategyFault)) as raised:
        strategies_of(settings)
    refusal = bad_strategy(type(raised.value).__name__, str(raised.value))
    assert refusal is not None
    assert "\n" not in str(refusal)
    assert f"{folder / 'idea.py'}:{line}" in str(refusal)
    assert words in str(refusal)


def test_the_commands_that_need_strategies_say_it_and_the_others_import_none(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files, line, words = FAULTS["unknown indicator"]
    folder = write_strategies(tmp_path, files)
    (tmp_path / "kobe.toml").write_text('[strategy]\nfolder = "strategies"\n', encoding="utf-8")
    for command in (("report",), ("backtest", "--strategy", "rsi2"), ("strategies", "list")):
        ended = kobe(*command)
        assert ended.code == 1
        (only,) = [text for text in ended.err.splitlines() if text.startswith("kobe: ")]
        assert f"{folder / 'idea.py'}:{line}" in only
        assert words in only
    checks = {row["name"]: row for row in json.loads(kobe("preflight", "--json").out)["lines"]}
    assert not checks["strategy"]["passed"]
    assert f"{folder / 'idea.py'}:{line}" in checks["strategy"]["seen"]
    assert words in checks["strategy"]["seen"]
    assert checks["audit chain"]["passed"]
    (folder / "idea.py").write_text("import pathlib\npathlib.Path('imported').touch()\n", encoding="utf-8")
    for command in (("kill", "status"), ("audit", "verify"), ("health",), ("reconcile",), ("config", "pin")):
        kobe(*command)
        assert not (tmp_path / "imported").exists(), command


@pytest.mark.parametrize("thread", ["main", "another"])
@pytest.mark.parametrize(
    ("loops", "line"),
    [
        (GOOD.replace("def spread", "while True:\n    pass\n\n\ndef spread"), 4),
        (GOOD.replace("return bars.high", "while True:\n        pass\n    return bars.high"), CUSTOM),
        (
            GOOD.replace(
                "def spread",
                "while True:\n    try:\n        sum(range(99))\n    except Exception:\n        pass\n\n\ndef spread",
            ),
            None,
        ),
        (GOOD.replace("def spread", "import time; time.sleep(30)\n\n\ndef spread"), 4),
    ],
    ids=["when imported", "when asked", "after any error", "asleep"],
)
def test_a_file_that_does_not_come_back_is_named_with_its_line_and_not_waited_for_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loops: str, line: int | None, thread: str
) -> None:
    if thread == "another" and "sleep" in loops:
        loops = loops.replace("time.sleep(30)", "[time.sleep(0.01) for _ in range(3000)]")
    settings = Settings.model_validate({"strategy": {"folder": write_strategies(tmp_path, {"idea.py": GOOD})}})
    # What a first reading imports takes longer than the deadline of this test.
    assert "my_idea" in strategies_of(settings)
    write_strategies(tmp_path, {"idea.py": loops})
    monkeypatch.setattr(own_strategies_module, "DEADLINE_S", 0.5)

    def read() -> str:
        with pytest.raises((StrategyBroken, StrategyFault)) as raised:
            strategies_of(settings)
        return str(raised.value)

    began = time.monotonic()
    if thread == "another":
        with ThreadPoolExecutor(1) as pool:
            reason = pool.submit(read).result()
    else:
        reason = read()
    assert f"idea.py:{line or ''}" in reason
    assert "takes too long to be read" in reason
    again = time.monotonic()
    assert again - began < 5
    assert read() == reason
    assert time.monotonic() - again < 0.1


def test_numbers_of_numpy_and_any_list_are_numbers_and_a_list(tmp_path: Path) -> None:
    text = GOOD.replace("rsi(4)", "rsi(np.int64(4))").replace('"time_stop": 8', '"time_stop": np.int64(8)')
    text = text.replace("(30, 40)", "np.arange(30, 50, 10)").replace("(2, 3)", "(x for x in [2, 3])")
    folder = write_strategies(tmp_path, {"idea.py": f"import numpy as np\n{text}"})
    mine = strategies_of(Settings.model_validate({"strategy": {"folder": folder}}))["my_idea"]
    assert mine.grid == {"entry": (30, 40), "atr_stop": (2, 3)}
    assert json.dumps([mine.parameters, mine.grid]), "what is stored and hashed is plain"


def test_what_differs_a_little_is_a_column_of_its_own() -> None:
    one, other = (talib("T3", timeperiod=5, vfactor=value) for value in (0.7, 0.70000001))
    assert one != other


@pytest.mark.parametrize(
    ("content", "line"),
    [("# Schlüssel\n".encode("latin-1") + GOOD.encode(), 1), (GOOD.encode() + "X = 'ä'\n".encode("latin-1"), None)],
    ids=["first line", "last line"],
)
def test_a_file_that_is_no_utf_8_is_named_with_its_line(tmp_path: Path, content: bytes, line: int | None) -> None:
    folder = write_strategies(tmp_path, {})
    (folder / "idea.py").write_bytes(content)
    with pytest.raises(StrategyBroken, match=rf"idea.py:{line or len(GOOD.splitlines()) + 1} \(it is no text in UTF-8"):
        strategies_of(Settings.model_validate({"strategy": {"folder": folder}}))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("idea.py", b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()),
        ("idea.py", "# -*- coding: latin-1 -*-\n# Schlüssel\n".encode("latin-1") + GOOD.encode()),
        ("my idea.v2.py", GOOD.encode()),
        ("random.py", GOOD.encode()),
    ],
    ids=["byte order mark", "another encoding that it names", "points and blanks in its name", "the name of a library"],
)
def test_a_file_that_python_reads_is_read(tmp_path: Path, name: str, content: bytes) -> None:
    folder = write_strategies(tmp_path, {})
    (folder / name).write_bytes(content)
    (folder / "folder.py").mkdir()
    assert "my_idea" in strategies_of(Settings.model_validate({"strategy": {"folder": folder}}))


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    folder = write_strategies(tmp_path, {"idea.py": GOOD})
    os.mkfifo(folder / "pipe.py")
    with pytest.raises(StrategyBroken, match=r"pipe.py \(it is no file\)"):
        strategies_of(Settings.model_validate({"strategy": {"folder": folder}}))


def test_what_a_file_prints_is_no_part_of_an_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_strategies(
        tmp_path, {"idea.py": GOOD.replace("    return bars", "    print('asked')\n    return bars") + "print('read')\n"}
    )
    strategies_of(Settings.model_validate({"strategy": {"folder": folder}}))
    said = capsys.readouterr()
    assert (said.out, "read" in said.err, "asked" in said.err) == ("", True, True)


def test_a_name_that_is_nearly_one_is_asked_for(tmp_path: Path) -> None:
    from kobe_jobs.research_run.strategies import refuse_unknown_parameters, strategy_named

    with pytest.raises(UsageError, match=r"no strategy 'rsi' \(did you mean rsi2\?\): use one of"):
        strategy_named(Settings(), "rsi")
    folder = write_strategies(tmp_path, {})
    for given, words in (
        ({"walk_forward": {"grid": {"rsi22": {"rsi_entry": [5]}}}}, r"rsi22\] names no strategy \(did you mean rsi2\?\)"),
        (
            {"walk_forward": {"grid": {"rsi2": {"rsi_entri": [5]}}}},
            r"rsi2\] rsi_entri is no parameter \(did you mean rsi_entry\?\)",
        ),
        ({"strategy": {"folder": folder, "parameters": {"ibs": {"time": 5}}}}, r"parameters.ibs\] time is no parameter"),
    ):
        with pytest.raises(UsageError, match=words):
            refuse_unknown_parameters(Settings.model_validate(given))
    refuse_unknown_parameters(Settings.model_validate({"strategy": {"folder": folder, "parameters": {"mine": {"x": 5}}}}))


def test_a_good_file_is_registered_beside_kobes_own(tmp_path: Path) -> None:

    folder = write_strategies(tmp_path, {"idea.py": GOOD})
    known = strategies_of(Settings.model_validate({"strategy": {"folder": folder}}))
    assert list(known) == ["rsi2", "ibs", "rsi2_ibs", "my_idea"]
    assert known["my_idea"].place.startswith(str(folder / "idea.py"))


def test_any_other_error_keeps_its_traceback(home: Path) -> None:
    script = (
        "import kobe_jobs.cli.commands.config as c; c.config_pin = lambda _: 1 / 0; from kobe_jobs.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script, "config", "pin"], capture_output=True, text=True, check=False)
    assert "ZeroDivisionError" in done.stderr
    assert "Traceback" in done.stderr


def test_a_file_of_kobes_own_that_cannot_be_imported_is_named_with_the_mend(home: Path, tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text(
        "import sys\nsys.modules['kobe_assets.research.strategies.ibs'] = None\nfrom kobe_jobs.cli.main import main\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), "report"], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    said = [line for line in done.stderr.splitlines() if line.startswith("kobe: ")]
    assert len(said) == 1, done.stderr
    assert said[0].startswith("kobe: the strategies cannot be imported, see ")
    assert said[0].endswith("mend it, or move its file out of the folder of strategies")
    assert "Traceback" not in done.stderr


def test_a_strategy_made_from_another_is_blamed_under_its_own_name() -> None:
    one = replace(STRATEGIES["ibs"], name="derived", long=lambda at, p: at.close > p["unknown"])
    with pytest.raises(StrategyFault, match=r"the strategy derived fails at .*test_strategies.py:\d+ \(KeyError"):
        try_out(one)
    with pytest.raises(AttributeError):
        satisfied(one, "long", SimpleNamespace(close=1.0), {})  # type: ignore[arg-type]


def test_a_broken_strategy_does_not_keep_the_ui_from_loading(tmp_path: Path) -> None:
    from kobe_jobs.definitions import build_definitions

    folder = write_strategies(tmp_path, FAULTS["syntax"][0])
    definitions = build_definitions(Settings.model_validate({"strategy": {"folder": folder}}))
    assert "a strategy is broken" in {spec.code_version for spec in definitions.resolve_all_asset_specs()}


def test_files_import_each_other_by_name_and_a_strategy_is_registered_once(tmp_path: Path) -> None:
    from kobe_assets.graph.own_strategies import own_files, own_strategies

    helper = "from kobe_assets.research.language import *\n\n\ndef spread(bars):\n    return bars.high - bars.low\n"
    files = {
        "helper.py": helper,
        "idea.py": GOOD.replace("def spread(bars):\n    return bars.high - bars.low\n", "from helper import spread\n"),
        "other.py": "from dataclasses import replace\nfrom idea import MY_IDEA\nOTHER = replace(MY_IDEA, name='other')\n",
    }
    folder = write_strategies(tmp_path, files)
    found = own_strategies(own_files(Settings.model_validate({"strategy": {"folder": folder}})))
    names = {own.strategy.name: [Path(path).name for path, _ in own.sources] for own in found}
    assert names == {"my_idea": ["helper.py", "idea.py"], "other": ["helper.py", "idea.py", "other.py"]}
    assert "helper" not in sys.modules


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"portfolio": {"strategies": {"my_ide": 1.0}}}, r"portfolio.strategies names 'my_ide', .*did you mean my_idea\?"),
        (
            {"strategy": {"parameters": {"my_ide": {"entry": 3.0}}}},
            r"parameters.my_ide\] names no strategy \(did you mean my_idea\?",
        ),
        ({"walk_forward": {"grid": {"my_ide": {"entry": [3.0]}}}}, r"grid.my_ide\] names no strategy \(did you mean my_idea\?"),
    ],
)
def test_settings_of_no_strategy_are_refused_before_anything_is_computed(
    home: Path, tmp_path: Path, given: dict[str, dict[str, object]], words: str
) -> None:
    from kobe_jobs.research_run.stale import bring_up_to_date
    from kobe_jobs.research_run.strategies import parts_named, strategy_named

    given = {**given, "strategy": {**given.get("strategy", {}), "folder": write_strategies(tmp_path, {"idea.py": GOOD})}}
    settings = Settings.model_validate(given)
    for ask in (bring_up_to_date, partial(strategy_named, name="my_idea"), parts_named):
        with pytest.raises(UsageError, match=words):
            ask(settings)
    assert not (home / "dagster").exists()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, DagsterExecutionInterruptedError])
def test_ctrl_c_in_a_function_of_ones_own_is_no_fault_of_it(stop: type[BaseException]) -> None:
    def stopped(*_: object) -> None:
        raise stop

    bars = ListingBars(*np.ones((5, 3)), np.arange(3))
    with pytest.raises(stop):
        values_of(custom(stopped), bars)
    with pytest.raises(stop):
        satisfied(replace(STRATEGIES["ibs"], long=stopped), "long", Reading(np.ones(3), {}), {})


PRINTS = """
import os
import sys
import warnings

import numpy as np

print("read")
print("read too", file=sys.stdout)
os.chdir("/")
np.seterr(all="raise")
warnings.simplefilter("error")


def spread(bars):
    print("asked")
    os.chdir("/")
    warnings.simplefilter("error")
"""


def test_what_an_own_file_prints_and_changes_is_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_strategies(tmp_path, {"idea.py": GOOD.replace("\ndef spread(bars):\n", PRINTS)})
    before, errors = list(warnings.filters), np.geterr()
    mine = strategies_of(Settings.model_validate({"strategy": {"folder": folder}}))["my_idea"]
    assert (warnings.filters, np.geterr()) == (before, errors)
    capsys.readouterr()
    days, columns = np.datetime64("2020-01-01") + np.arange(30), ("open", "high", "low", "close", "volume", "factor")
    panel = build_panel(("A",), days, np.zeros(30, np.int64), np.arange(30), {name: np.ones(30) for name in columns})
    assert unproven(panel, mine)
    printed = capsys.readouterr()
    assert (printed.out, set(printed.err.split())) == ("", {"asked"})
    assert (Path.cwd(), warnings.filters) == (tmp_path, before)
