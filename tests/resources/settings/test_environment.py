"""Variables of the environment over the settings file: what both set is the environment's, and nothing is mixed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kobe_resources.errors import UsageError
from kobe_resources.settings.load import load_settings

TOML = """
[portfolio]
strategies = { rsi2 = 1.0 }
[walk_forward]
test = 100
strategies = ["rsi2"]
[walk_forward.grid.rsi2]
rsi_entry = [5]
[walk_forward.grid.ibs]
ibs_entry = [0.1]
[data.polygon]
calls_per_minute = 7
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("KOBE_")]:
        monkeypatch.delenv(name)
    (tmp_path / "kobe.toml").write_text(TOML)
    monkeypatch.setenv("KOBE_CONFIG", str(tmp_path / "kobe.toml"))


def test_a_table_of_the_environment_replaces_that_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_PORTFOLIO__STRATEGIES", '{"ibs": 2.0}')
    monkeypatch.setenv("KOBE_WALK_FORWARD__GRID__RSI2", '{"rsi_exit": [60]}')
    monkeypatch.setenv("KOBE_WALK_FORWARD__STRATEGIES", '["ibs"]')
    found = load_settings()
    assert found.portfolio.strategies == {"ibs": 2.0}
    assert found.walk_forward.grid == {"rsi2": {"rsi_exit": [60]}, "ibs": {"ibs_entry": [0.1]}}
    assert found.walk_forward.strategies == ["ibs"]
    assert found.walk_forward.test == 100


def test_a_name_of_a_table_and_a_section_are_laid_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_PORTFOLIO__STRATEGIES__IBS", "2.0")
    monkeypatch.setenv("KOBE_DATA__POLYGON", '{"in_flight": 3}')
    found = load_settings()
    assert found.portfolio.strategies == {"rsi2": 1.0, "ibs": 2.0}
    assert (found.data.polygon.calls_per_minute, found.data.polygon.in_flight) == (7, 3)


@pytest.mark.parametrize(
    ("name", "value", "by"),
    [
        ("KOBE_SIZING__MODE", "equty", "KOBE_SIZING__MODE"),
        ("KOBE_STRATEGY__RSI_ENTRI", "3", "KOBE_STRATEGY__RSI_ENTRI"),
        ("KOBE_PORTFOLIO__STRATEGIES", '{"ibs": "much"}', "KOBE_PORTFOLIO__STRATEGIES"),
        ("KOBE_WALK_FORWARD__TEST", "63", ""),
    ],
)
def test_what_is_wrong_is_named_by_the_variable_that_sets_it_else_by_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, by: str
) -> None:
    monkeypatch.setenv(name, value)
    if not by:
        (tmp_path / "kobe.toml").write_text(TOML + "[sizing]\nmode = 'equty'\n")
    with pytest.raises(UsageError, match=f"set by {by}$" if by else f"set in {tmp_path / 'kobe.toml'}$"):
        load_settings()
