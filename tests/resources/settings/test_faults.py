"""Settings that are beyond reason or hold a password: one line that names the mend, exit 2, and no secret in it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kobe_resources.errors import UsageError
from kobe_resources.runtime.event_log import events_path, get_logger
from kobe_resources.settings.load import load_settings
from kobe_resources.settings.pins import config_pin
from tests.support.drivers.command import kobe

HOOK = "https://hooks.example/services/T1/B2/topsecretpath"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KOBE_HOME", str(tmp_path / "home"))
    for name in [name for name in os.environ if name.startswith("KOBE_") and name != "KOBE_HOME"]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(folder: Path, text: str = "") -> str:
    """What `load_settings` says of a file with this text (or of the environment), in one line."""
    if text:
        (folder / "kobe.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        load_settings()
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["strategy.folder", "data.files.path", "data.polygon.candidates", "data.alpaca.candidates"])
def test_an_empty_path_is_refused_and_is_not_the_current_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    said = f"settings: {name} names no file or folder; leave the setting out where there is none"
    table, _, key = name.rpartition(".")
    assert refusal(folder, f'[{table}]\n{key} = " "').startswith(said)
    (folder / "kobe.toml").unlink()
    monkeypatch.setenv(f"KOBE_{name.upper().replace('.', '__')}", "")
    assert refusal(folder).startswith(said)


@pytest.mark.parametrize(
    "text",
    [
        "[universe]\nrelease = " + "[" * 100_000,
        "[universe]\nrelease = " + "{a=" * 5_000,
        "a = " + "[" * 3_000 + "]" * 3_000,
        "[" + ".".join("a" * 20_000) + "]",
        "[simulation]\ninitial_cash = " + "9" * 6000,
        "[simulation]\ninitial_cash = " + "9" * 400,
        "[simulation]\ninitial_cash = 1e300",
        "[simulation]\ninitial_cash = inf",
        "[data.synthetic]\nseed = " + "9" * 400,
        "[data.synthetic]\nseed = 0x" + "f" * 6000,
        "[data.synthetic]\nsymbols = " + "9" * 100,
        "[universe]\ncap = " + "9" * 4000,
        "[walk_forward.grid.rsi2]\nrsi_entry = [nan]",
        "[walk_forward.grid.rsi2]\nrsi_entry = [" + "9" * 500 + "]",
        "[broker]\ntimeout_s = 1e12",
        "[trading]\nlast_entry_before_close_min = 100000000000",
        "[data]\nstart = 99999-01-01",
        '[universe.release]\nA = "\\ud800"',
    ],
)
@pytest.mark.usefixtures("no_collection")
def test_numbers_and_depths_beyond_reason_are_one_line(folder: Path, text: str) -> None:
    assert len(refusal(folder, text)) < 400


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KOBE_UNIVERSE__RELEASE", "[" * 100_000),
        ("KOBE_UNIVERSE__RELEASE", '{"a":' * 100_000),
        ("KOBE_SIMULATION__INITIAL_CASH", "9" * 6000),
        ("KOBE_SIMULATION__INITIAL_CASH", "nan"),
        ("KOBE_DATA__SYNTHETIC__SEED", "9" * 300),
        ("KOBE_DATA__SYNTHETIC__SEED", "9" * 6000),
        ("KOBE_WALK_FORWARD__GRID", '{"rsi2": {"rsi_entry": [Infinity]}}'),
        ("KOBE_WALK_FORWARD__GRID", '{"rsi2": {"rsi_entry": [' + "9" * 6000 + "]}}"),
    ],
)
@pytest.mark.usefixtures("no_collection")
def test_the_same_holds_for_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert len(refusal(folder)) < 400


@pytest.mark.parametrize("text", ["[universe]\nrelease = " + "[" * 100_000, "[simulation]\ninitial_cash = " + "9" * 6000])
@pytest.mark.usefixtures("no_collection")
def test_every_command_ends_in_the_line_and_with_2(folder: Path, text: str) -> None:
    (folder / "kobe.toml").write_text(text)
    for command in (("config", "pin"), ("config", "show"), ("health",), ("report",)):
        ended = kobe(*command)
        assert ended.code == 2, ended.err
        assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("key", "address"),
    [
        ("broker.base_url", "https://me:hunter2pass@broker.example"),
        ("broker.base_url", "me:hunter2pass@broker.example"),
        ("broker.base_url", "https://hunter2pass@broker.example"),
        ("broker.data_url", "https://data.example/?apiKey=hunter2pass"),
        ("broker.data_url", "https://data.example/#hunter2pass"),
        ("data.polygon.base_url", "https://me:hunter2pass@api.polygon.io"),
        ("data.polygon.base_url", "https://api.polygon.io/?apiKey=hunter2pass"),
        ("compute.scheduler", "tcp://me:hunter2pass@host:8786"),
        ("trading.alert_webhook", "https://me:hunter2pass@hooks.example/x"),
        ("broker.base_url", "https://broker.example:hunter2pass"),
        ("broker.base_url", "https://[hunter2pass"),
        ("broker.base_url", "https://broker.example/ hunter2pass"),
        ("data.files.path", "s3://me:hunter2pass@bucket/bars.csv"),
    ],
)
def test_an_address_with_a_password_is_refused_and_not_repeated(
    folder: Path, monkeypatch: pytest.MonkeyPatch, key: str, address: str
) -> None:
    monkeypatch.setenv("KOBE_" + key.replace(".", "__").upper(), address)
    said = refusal(folder)
    assert key in said
    assert "hunter2pass" not in said


def test_a_webhook_is_taken_and_shows_nowhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without = config_pin(load_settings())
    (folder / "kobe.toml").write_text(f'[trading]\nalert_webhook = "{HOOK}?token=abcdefgh"\n')
    # Logged before any settings were loaded: what is secret is known from the files.
    get_logger("first").error("cannot post", url=HOOK, path="/services/T1/B2/topsecretpath", query="?token=abcdefgh")
    assert config_pin(load_settings()) == without
    assert "topsecretpath" not in events_path().read_text()
    for command in (("config", "show"), ("config", "show", "--json"), ("config", "pin")):
        ended = kobe(*command)
        assert ended.code == 0
        assert "topsecretpath" not in ended.out + ended.err


def test_a_webhook_of_the_environment_is_a_secret_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_TRADING__ALERT_WEBHOOK", HOOK)
    get_logger("first").error("cannot post", error=f"Max retries exceeded with url: {HOOK[21:]}")
    assert "topsecretpath" not in events_path().read_text()


def test_every_key_of_the_key_file_is_a_secret_before_it_is_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = folder / "keys.env"
    keys.write_text("ALPACA_API_SECRET_KEY=first-secret\nSLACK_BOT=another-secret\nSTAGE=live\n")
    monkeypatch.setenv("KOBE_ENV_FILE", str(keys))
    get_logger("first").error("said: first-secret, another-secret, live")
    assert json.loads(events_path().read_text())["event"] == "said: [redacted], [redacted], live"


def test_keys_stay_hidden_while_the_key_file_cannot_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = folder / "keys.env"
    keys.write_text("ALPACA_API_SECRET_KEY=first-secret\n")
    monkeypatch.setenv("KOBE_ENV_FILE", str(keys))
    monkeypatch.setenv("POLYGON_API_KEY", "second-secret")
    get_logger("x").info("one")
    for spoil in (lambda: keys.write_bytes(b"\xff\xfe\x00"), keys.unlink):
        spoil()
        get_logger("x").info("first-secret and second-secret")
    assert "-secret" not in events_path().read_text()
