"""Children of a master that is killed: asked once, killed when they are deaf, and their reaper goes with them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from kobe_jobs.ops.ui.orphans import end_groups
from tests.support.drivers.processes import outliving

MASTER = """
import sys, threading, time
from pathlib import Path
from kobe_jobs.ops.ui import supervisor as children
from kobe_jobs.ops.ui.signals import Stop
children.STOP_WAIT_S = 1.0
with children.Children({}, Path("log"), Stop()) as started:
    # Every thread of a parent counts as its death for the kernel.
    for _ in range(8):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    for name in sys.argv[1:]:
        started.start(name, "child", name)
    while not all(Path(name).exists() for name in sys.argv[1:]):
        time.sleep(0.02)
    print("ready", flush=True)
    time.sleep(60)
"""
CHILD = """
import signal, subprocess, sys, time
def asked(number, frame):
    with open(sys.argv[1], "a") as file:
        file.write("asked\\n")
    if sys.argv[1] == "polite":
        time.sleep(0.3)
        sys.exit()
signal.signal(signal.SIGTERM, asked)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open(sys.argv[1], "w").close()
while True:
    time.sleep(60)
"""


def test_the_children_of_a_killed_master_are_asked_once_and_killed_with_all_they_started(tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text(CHILD)
    master = subprocess.Popen(
        [sys.executable, "-c", MASTER, "polite", "deaf"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert master.stdout is not None
    assert master.stdout.readline() == "ready\n", master.communicate()[1]
    family = psutil.Process(master.pid).children(recursive=True)
    assert len(family) == 5, "two children with a child each, and the reaper"
    master.kill()
    master.communicate()

    assert not outliving(family, 20)
    assert (tmp_path / "polite").read_text() == "asked\n"
    assert (tmp_path / "deaf").read_text() == "asked\n"


def test_what_ended_before_does_not_hold_the_reaper_up() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    gone.wait()
    started = time.monotonic()
    end_groups([gone.pid], 30)
    assert time.monotonic() - started < 10


def test_a_number_that_another_user_has_by_now_keeps_no_group_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []

    def kill(number: int, sent: int) -> None:
        if number == 1:
            raise PermissionError
        if sent == 0:
            raise ProcessLookupError
        killed.append(number)

    monkeypatch.setattr("kobe_jobs.ops.ui.orphans.os.kill", kill)
    monkeypatch.setattr("kobe_jobs.ops.ui.orphans.os.killpg", kill)
    end_groups([1, 2], 0.1)
    assert killed == [2, 2]
