"""What lies in examples/ runs: each strategy to copy, over the sample. The notebook is run with the tests of the warehouse."""

from __future__ import annotations

import datetime as dt
import importlib.util
from pathlib import Path

import pytest

from kobe_assets.checks.research import signals_read_no_future
from kobe_assets.graph.inputs import canonical_params, grid_of, load_market
from kobe_assets.research.strategies import STRATEGIES, Strategy
from kobe_assets.research.walk_forward import grid_sets
from kobe_jobs.research_run.backtest import run_backtest
from kobe_jobs.research_run.stale import bring_up_to_date
from kobe_resources.settings.load import load_settings
from kobe_resources.warehouse.store import Warehouse

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
FILES = sorted((EXAMPLES / "strategies").glob("*.py"))


def declared(path: Path) -> Strategy:
    """The one strategy of a file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (strategy,) = (value for value in vars(module).values() if isinstance(value, Strategy))
    return strategy


@pytest.fixture(scope="module")
def computed_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOBE_HOME", str(folder))
        bring_up_to_date(load_settings(), targets=("daily_bars", "universe", "indicators"))
    return folder


def test_there_are_two() -> None:
    assert [path.stem for path in FILES] == ["deep_pullback", "weak_close"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_strategy_to_copy_trades_and_reads_no_future(
    path: Path, computed_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOBE_HOME", str(computed_home))
    strategy = declared(path)
    assert strategy.name == path.stem
    assert strategy.name not in STRATEGIES
    monkeypatch.setitem(STRATEGIES, strategy.name, strategy)
    settings = load_settings()
    summary = run_backtest(settings, strategy.name, dt.date(2004, 1, 2), dt.date(2012, 12, 31), tmp_path / "run")
    assert summary["trades"] > 20
    assert len(grid_sets(strategy, canonical_params(settings, strategy), grid_of(settings, strategy))) > 5
    market = load_market(Warehouse(), settings)
    params = {name: canonical_params(settings, known) for name, known in STRATEGIES.items()}
    assert signals_read_no_future(market, params) is None


def test_the_readme_shows_an_example_as_it_is() -> None:
    readme = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    code = (EXAMPLES / "strategies" / "weak_close.py").read_text(encoding="utf-8").split("WEAK_CLOSE = ")[1]
    assert code.replace("weak_close", "my_idea") in readme
