"""`kobe config`: what is in force and why, without a secret; and the table of every setting."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from kobe_jobs.cli.commands import config
from kobe_jobs.cli.settings_table import every_setting
from kobe_resources.settings.load import PROJECT_ROOT, load_settings
from kobe_resources.settings.models import Settings
from kobe_resources.settings.pins import config_pin

WEBHOOK = "https://hooks.example/services/T1/B2/topsecretpath"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KOBE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> str:
    app = typer.Typer()
    config.register(app)

    @app.callback()
    def root() -> None:
        pass

    result = CliRunner().invoke(app, ["config", *arguments], catch_exceptions=False, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def test_show_names_the_source_of_each_value(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "kobe.toml").write_text("[strategy]\nrsi_entry = 12\n[walk_forward.grid.rsi2]\nrsi_entry = [5, 10]\n")
    monkeypatch.setenv("KOBE_POLICY__MAX_PRICE", "500")
    shown = json.loads(run("show", "--json"))["settings"]
    assert shown["strategy.rsi_entry"] == {"value": 12.0, "from": "file"}
    assert shown["policy.max_price"] == {"value": 500.0, "from": "KOBE_POLICY__MAX_PRICE"}
    assert shown["simulation.initial_cash"] == {"value": 1000.0, "from": "vendor default"}
    assert shown["strategy.rsi_exit"] == {"value": 70.0, "from": "default"}
    assert shown["walk_forward.grid"]["from"] == "file"


def test_every_setting_is_shown(home: Path) -> None:
    leaves = {key for key, _, _ in every_setting()}
    dumped = flat(load_settings().model_dump(), "")
    assert leaves == dumped
    assert set(json.loads(run("show", "--json"))["settings"]) == leaves


def flat(values: dict[str, object], prefix: str) -> set[str]:
    """Dotted keys of nested tables; tables whose keys are data (grid, release, strategies, parameters) count as one setting."""
    found: set[str] = set()
    for name, value in values.items():
        is_table = isinstance(value, dict) and f"{prefix}{name}" not in (
            "walk_forward.grid",
            "universe.release",
            "portfolio.strategies",
            "strategy.parameters",
        )
        found |= flat(value, f"{prefix}{name}.") if is_table and isinstance(value, dict) else {f"{prefix}{name}"}
    return found


def test_show_prints_no_secret(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPACA_API_SECRET_KEY", "very-secret-value")
    monkeypatch.setenv("KOBE_TRADING__ALERT_WEBHOOK", WEBHOOK)
    for output in (run("show"), run("show", "--json")):
        assert "very-secret-value" not in output
        assert "topsecretpath" not in output
    assert json.loads(run("show", "--json"))["secrets"] == {
        "POLYGON_API_KEY": False,
        "ALPACA_API_KEY_ID": False,
        "ALPACA_API_SECRET_KEY": True,
    }


def test_the_pin_of_the_command_changes_with_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    first = run("pin").strip()
    assert first == config_pin(load_settings())
    monkeypatch.setenv("KOBE_BROKER__STAGE", "paper")
    assert run("pin").strip() != first
    assert re.fullmatch(r"[0-9a-f]{64}", run("pin", "--research").strip())


def test_docs_hold_every_setting_with_its_meaning() -> None:
    table = run("docs")
    for key, field, _ in every_setting():
        assert f"| `{key.rpartition('.')[2]}` |" in table
        assert field.description, f"{key} has no description"
        assert field.description.replace("<", "&lt;").replace("|", "\\|") in table
    assert "`[data.polygon]`" in table
    assert "| `cap` | `none` | whole number ≥ 1 or none |" in table


def test_the_built_in_defaults_shown_are_those_in_force() -> None:
    settings = Settings()
    for key, _, default in every_setting():
        value: object = settings
        for part in key.split("."):
            value = getattr(value, part)
        assert value == default, key


def test_the_readmes_settings_for_own_bars_put_the_account_to_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8").split("## Your own bars")[1]
    config = tmp_path / "kobe.toml"
    config.write_text(text.split("```toml\n")[1].split("```")[0], encoding="utf-8")
    monkeypatch.setenv("KOBE_CONFIG", str(config))
    settings = load_settings()
    assert settings.data.vendor == "files"
    assert not settings.universe.require_options, "no candidates.csv beside it"
    sizing, policy = settings.sizing, settings.policy
    assert sizing.mode == "equity"
    assert sizing.fraction * settings.simulation.initial_cash >= policy.max_price, (
        "one share of any stock that the gate lets pass"
    )
    assert policy.max_notional_per_order is None
    assert policy.max_daily_notional is None
    assert policy.max_order_fraction is not None
    assert policy.max_daily_fraction is not None
    assert sizing.fraction <= policy.max_order_fraction <= policy.max_daily_fraction <= 1
