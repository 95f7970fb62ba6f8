"""A declaration with a fault ends in one line: the strategy, the place, and what it may read."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from kobe_assets.research.strategies import STRATEGIES, StrategyFault
from kobe_assets.research.strategies.register import Register

FAULTY = """
import sys
from kobe_assets.research.strategies import STRATEGIES, Strategy

STRATEGIES["my_idea"] = Strategy(
    name="my_idea",
    summary="A typing error",
    reads=("ibs_entry",),
    long=lambda at, p: (at.ibs < p["ibs_entry"])
    & (at.close > at.sma20),
    short=lambda at, p: at.ibs > 1 - p["ibs_entri"],
    score_long=lambda at: at.ibs,
    score_short=lambda at: 1 - at.ibs,
    grid={"ibs_entry": (0.1, 0.2)},
)
from kobe_jobs.cli.main import main
main()
"""
WINDOW = ("--strategy", "my_idea", "--start", "2005-01-03", "--end", "2006-06-30", "--out", "out")


def test_a_fault_in_a_declaration_names_strategy_place_and_fields(home: Path, tmp_path: Path) -> None:
    script = tmp_path / "faulty.py"
    script.write_text(FAULTY)
    for command in (("report",), ("backtest", *WINDOW)):
        done = subprocess.run(
            [sys.executable, str(script), *command], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 1, done.stderr
        said = [line for line in done.stderr.splitlines() if line.startswith("kobe: ")]
        assert said == [
            f"kobe: the strategy my_idea fails at {script}:10 (AttributeError: 'Reading' object has no attribute 'sma20'): "
            "`at` has close, rsi2, sma200, atr14, ibs; `p` has ibs_entry, atr_stop, time_stop"
        ]
        assert "Traceback" not in done.stderr


def test_any_other_error_keeps_its_traceback(home: Path) -> None:
    script = (
        "import kobe_jobs.cli.commands.config as c; c.config_pin = lambda _: 1 / 0; from kobe_jobs.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script, "config", "pin"], capture_output=True, text=True, check=False)
    assert "ZeroDivisionError" in done.stderr
    assert "Traceback" in done.stderr


def test_a_file_that_cannot_be_imported_is_named_with_the_mend(home: Path, tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text(
        "import sys\nsys.modules['kobe_assets.research.strategies.ibs'] = None\nfrom kobe_jobs.cli.main import main\nmain()\n"
    )
    for command in (("report",), ("backtest", "--strategy", "rsi2", *WINDOW[2:])):
        done = subprocess.run(
            [sys.executable, str(script), *command], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
        )
        said = [line for line in done.stderr.splitlines() if line.startswith("kobe: ")]
        assert len(said) == 1, done.stderr
        assert said[0].startswith("kobe: the strategies cannot be imported, see ")
        assert said[0].endswith("mend that file, or take it out of kobe_assets/research/strategies/__init__.py")
        assert "Traceback" not in done.stderr


def test_a_strategy_made_from_another_is_blamed_under_its_own_name() -> None:
    register = Register(lambda: [replace(STRATEGIES["ibs"], long=lambda at, p: at.close > p["unknown"])])
    register["derived"] = replace(register["ibs"], name="derived")
    for name in ("ibs", "derived"):
        with pytest.raises(StrategyFault, match=rf"the strategy {name} fails at .*test_strategies.py:\d+ \(KeyError"):
            register[name].long(SimpleNamespace(close=1.0), {})
