"""`kobe kill` and `kobe audit` from the command line."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from kobe_resources.errors import KobeError
from kobe_resources.kill_switch import KillSwitch
from kobe_resources.order_ledger import OrderLedger
from tests.jobs.cli.test_trading_commands import kobe, parsed, printed


def test_the_kill_switch_is_turned_by_command_and_kept_on_the_chain(home: Path) -> None:
    assert kobe("kill", "status").stdout.strip() == "off"
    assert str(home / "KILL_SWITCH") in kobe("kill", "on", "fat finger").stdout
    assert printed("kill", "status")["reason"] == "fat finger"
    assert re.fullmatch(r"on: fat finger \(\S+ \S+\)", kobe("kill", "status").stdout.strip())
    assert kobe("kill", "off").exit_code == 0
    assert not KillSwitch().status().is_on
    with OrderLedger(home / "orders.sqlite") as ledger:
        assert [row["kind"] for row in ledger.rows("SELECT kind FROM audit ORDER BY seq")] == ["kill_on", "kill_off"]


def test_a_switch_that_was_touched_has_no_empty_brackets(home: Path) -> None:
    home.mkdir(parents=True)
    (home / "KILL_SWITCH").touch()
    assert kobe("kill", "status").stdout.strip() == "on: no reason given"


def test_a_switch_that_cannot_be_written_keeps_no_other_folder_trading(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    for stuck in (home, folders[1]):
        stuck.parent.mkdir(exist_ok=True)
        shutil.rmtree(stuck, ignore_errors=True)
        stuck.write_text("no folder")
    monkeypatch.setattr("kobe_jobs.cli.commands.kill.data_folders", lambda: folders)
    refused = kobe("kill", "on", "fat finger")
    assert isinstance(refused.exception, KobeError)
    assert str(home) in str(refused.exception)
    assert str(folders[1]) in refused.stderr
    assert [KillSwitch(folder / "KILL_SWITCH").status().reason for folder in folders[::2]] == ["fat finger"] * 2


def test_the_audit_trail_is_verified_by_command(home: Path) -> None:
    for _ in range(3):
        kobe("kill", "on", "one")
    head = kobe("audit", "head").stdout.strip()
    assert kobe("audit", "verify", "--head", head).exit_code == 0
    with OrderLedger(home / "orders.sqlite") as ledger:
        ledger.connection.execute("UPDATE audit SET body = '{}' WHERE seq = 2")
    broken = kobe("audit", "verify")
    assert isinstance(broken.exception, KobeError)
    assert "record 2" in str(broken.exception)
    assert parsed(kobe("audit", "verify", "--json"))["first_bad"] == 2


@pytest.mark.parametrize("command", ["verify", "head"])
def test_a_folder_that_never_traded_has_no_trail_that_holds(home: Path, command: str) -> None:
    refused = kobe("audit", command).exception
    assert isinstance(refused, KobeError)
    assert refused.exit_code == 1
    assert f"{home} holds neither" in str(refused)
    assert "KOBE_HOME" in refused.hint
    assert not home.exists()


def test_a_copy_without_its_ledger_does_not_hold(home: Path) -> None:
    kobe("kill", "on", "one")
    for file in home.glob("orders.sqlite*"):
        file.unlink()
    assert "audit.jsonl goes on" in str(kobe("audit", "verify").exception)
