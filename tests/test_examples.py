"""What lies in examples/ runs: each strategy to copy, over the sample. The notebook is run with the tests of the warehouse."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from kobe_assets.checks.research import signals_read_no_future
from kobe_assets.graph.inputs import canonical_params, grid_of, load_market
from kobe_assets.graph.own_strategies import strategies_of
from kobe_assets.research.walk_forward import grid_sets
from kobe_jobs.research_run.backtest import run_backtest
from kobe_jobs.research_run.stale import bring_up_to_date
from kobe_resources.settings.load import load_settings
from kobe_resources.warehouse.store import Warehouse

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
FILES = sorted((EXAMPLES / "strategies").glob("*.py"))


@pytest.fixture(scope="module")
def computed_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOBE_HOME", str(folder))
        patch.setenv("KOBE_STRATEGY__FOLDER", str(EXAMPLES / "strategies"))
        bring_up_to_date(load_settings(), targets=("daily_bars", "universe", "indicators"))
    return folder


def test_there_are_two() -> None:
    assert [path.stem for path in FILES] == ["deep_pullback", "weak_close"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_strategy_to_copy_trades_and_reads_no_future(
    path: Path, computed_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOBE_HOME", str(computed_home))
    monkeypatch.setenv("KOBE_STRATEGY__FOLDER", str(EXAMPLES / "strategies"))
    settings = load_settings()
    strategy = strategies_of(settings)[path.stem]
    summary = run_backtest(settings, strategy.name, dt.date(2004, 1, 2), dt.date(2012, 12, 31), tmp_path / "run")
    assert summary["trades"] > 20
    params = canonical_params(settings, strategy)
    assert len(grid_sets(strategy, params, grid_of(settings, strategy))) > 5
    market, name = load_market(Warehouse(), settings), strategy.name
    assert signals_read_no_future(market, {name: params}, strategies={name: strategy}) is None


def test_the_readme_shows_an_example_as_it_is() -> None:
    readme = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    code = (EXAMPLES / "strategies" / "weak_close.py").read_text(encoding="utf-8").split('folder."""\n\n')[1]
    assert code in readme
