"""The kill switch: a file that stops orders, and anything unclear about it stops them too."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from kobe_resources.kill_switch import KillSwitch, KillSwitchOn, KillSwitchStuck


@pytest.fixture
def switch(tmp_path: Path) -> KillSwitch:
    return KillSwitch(tmp_path / "KILL_SWITCH")


def test_it_is_off_where_there_is_no_file(switch: KillSwitch) -> None:
    assert not switch.status().is_on
    switch.check()


def test_on_keeps_reason_person_and_time_and_off_removes_it(switch: KillSwitch) -> None:
    status = switch.turn_on("fat finger")
    assert (status.is_on, status.reason) == (True, "fat finger")
    assert status.by
    assert status.at
    assert status.description == f"on: fat finger ({status.by} {status.at})"
    with pytest.raises(KillSwitchOn, match="fat finger"):
        switch.check()
    switch.turn_off()
    switch.check()
    switch.turn_off()
    assert switch.status().description == "off"


def test_it_leaves_nothing_half_written_beside_it(switch: KillSwitch) -> None:
    switch.turn_on("one")
    switch.turn_on("two")
    assert [path.name for path in switch.path.parent.iterdir()] == ["KILL_SWITCH"]
    assert json.loads(switch.path.read_text())["reason"] == "two"


@pytest.mark.parametrize("content", [b"", b"stop!", b"\xff\xfe", b"[1]", b"{" * 5000, b"[" * 5000, b'{"reason": null}'])
def test_a_switch_file_of_any_content_is_on(switch: KillSwitch, content: bytes) -> None:
    switch.path.write_bytes(content)
    assert switch.status().is_on


def test_a_file_made_by_hand_is_told_by_what_it_says_or_by_saying_nothing(switch: KillSwitch) -> None:
    switch.path.touch()
    assert switch.status().description == "on: no reason given"
    switch.path.write_bytes(b"a fire\n")
    assert switch.status().description == "on: a fire"


def test_a_folder_a_dangling_link_or_a_loop_of_links_is_on(switch: KillSwitch) -> None:
    switch.path.mkdir()
    assert switch.status().is_on
    switch.path.rmdir()
    switch.path.symlink_to(switch.path.parent / "nowhere")
    assert switch.status().is_on
    switch.path.unlink()
    switch.path.symlink_to(switch.path)
    assert switch.status().is_on


def test_off_removes_a_dangling_link(switch: KillSwitch) -> None:
    switch.path.symlink_to(switch.path.parent / "nowhere")
    switch.turn_off()
    assert not switch.status().is_on


@pytest.mark.parametrize("is_on", [True, False])
def test_a_switch_that_was_turned_on_after_the_look_stays_on(switch: KillSwitch, is_on: bool) -> None:
    seen = switch.turn_on("one") if is_on else switch.status()
    switch.turn_on("two")
    with pytest.raises(KillSwitchOn, match=r"turned on meanwhile \(two\)"):
        switch.turn_off(seen)
    assert switch.status().reason == "two"
    assert [path.name for path in switch.path.parent.iterdir()] == ["KILL_SWITCH"]
    switch.turn_off(switch.status())
    assert list(switch.path.parent.iterdir()) == []


def test_a_switch_that_cannot_be_removed_says_so_and_stays_on(switch: KillSwitch) -> None:
    switch.path.mkdir()
    with pytest.raises(KillSwitchStuck, match="remove it by hand"):
        switch.turn_off()
    assert switch.status().is_on


def test_off_is_harmless_on_a_disk_that_nothing_can_be_removed_from(
    switch: KillSwitch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    switch.turn_off()


def test_the_first_switch_makes_the_data_folder_for_its_owner_alone(tmp_path: Path) -> None:
    status = KillSwitch(tmp_path / "home" / "KILL_SWITCH").turn_on("before anything else")
    assert status.reason == "before anything else"
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700


def test_a_data_folder_that_is_no_folder_is_on_and_says_so_when_written(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    switch = KillSwitch(tmp_path / "home" / "KILL_SWITCH")
    assert switch.status().is_on
    with pytest.raises(KillSwitchStuck, match="by hand"):
        switch.turn_on("why")


def test_a_full_disk_has_room_for_the_name_and_that_is_on(switch: KillSwitch, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("kobe_resources.kill_switch.write_whole", full)
    assert switch.turn_on("the disk is full").is_on
    assert switch.path.read_bytes() == b""
    with pytest.raises(KillSwitchOn):
        switch.check()


def test_the_default_lies_in_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_HOME", str(tmp_path))
    KillSwitch().turn_on("here")
    assert os.listdir(tmp_path) == ["KILL_SWITCH"]
