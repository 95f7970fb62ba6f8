"""The Dagster UI with its daemon, and the reports beside it: `dagster dev` as one child, watched and taken down whole.

`dagster dev` shares one code server between webserver and daemon and ends both when either dies. Everything listens on
loopback. It trusts the environment for KOBE_HOME and the settings, which its children inherit.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

from kobe_resources.errors import KobeError
from kobe_resources.instance import dagster_home, open_instance
from kobe_resources.report_site import LOOPBACK, listen_on, recorded_port, serving_reports
from kobe_resources.settings import PROJECT_ROOT

DEFAULT_PORT = 3000
READY_WAIT_S = 120.0
STOP_WAIT_S = 20.0
POLL_S = 0.2
GRAPH_QUERY = """{ workspaceOrError { __typename ... on PythonError { message } ... on Workspace { locationEntries {
  loadStatus locationOrLoadError { __typename ... on PythonError { message } } } } } }"""


class UiFailed(KobeError):
    """The UI did not start, or ended by itself."""


def run_ui(
    port: int | None,
    report_port: int | None,
    say: Callable[[str], None],
    on_ready: Callable[[str], None] = lambda url: None,
    target: Sequence[str] = (),
) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP, then stop every child. Returns normally when asked to stop.

    say: shows a line to the person. on_ready: called once with the UI's URL. target: what `dagster dev` loads
    (default: the project's workspace). Raises PortBusy or UiFailed.
    """
    with _only_one(), _stop_signals() as stop:
        reports = listen_on(recorded_port() if report_port is None else report_port, "name another with --report-port")
        with listen_on(DEFAULT_PORT if port is None else port, "name another with --port") as probe:
            ui_port = probe.getsockname()[1]
        with open_instance():
            pass
        with _dagster(ui_port, target or _workspace()) as child, serving_reports(reports) as reports_url:
            url = f"http://{LOOPBACK}:{ui_port}"
            problem = _wait_until_ready(url, child, stop)
            if stop.asked:
                return
            if problem:
                say(f"the graph does not load: {problem}")
            say(f"Kobe UI {url} · reports {reports_url} · Ctrl-C stops both")
            on_ready(url)
            while not stop.asked:
                if child.poll() is not None:
                    raise UiFailed(f"the Dagster UI ended by itself (exit {child.returncode})", "see the lines above")
                time.sleep(POLL_S)


class _Stop:
    """Set by a signal."""

    asked = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        self.asked = True


@contextlib.contextmanager
def _stop_signals() -> Iterator[_Stop]:
    """Take SIGINT, SIGTERM and SIGHUP, also where a shell started us with SIGINT ignored: children inherit that."""
    stop = _Stop()
    names = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    before = {name: signal.signal(name, stop) for name in names}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


@contextlib.contextmanager
def _only_one() -> Iterator[None]:
    """Two daemons on one history would both run schedules and sensors."""
    from filelock import FileLock, Timeout

    lock = FileLock(dagster_home() / "ui.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UiFailed("another `kobe ui` serves this data folder", "use that one, or stop it first") from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _dagster(port: int, target: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """`dagster dev` in a process group of its own; the whole group is gone at the end of the block."""
    command = [
        sys.executable,
        "-m",
        "dagster",
        "dev",
        "--host",
        LOOPBACK,
        "--port",
        str(port),
        "--log-level",
        "warning",
        *target,
    ]
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(dagster_home()),
        # Only the hint that `dagster dev` has a successor.
        "PYTHONWARNINGS": "ignore::FutureWarning",
    }
    child = subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=_end_with_parent())
    try:
        yield child
    finally:
        _stop_group(child)


def _stop_group(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(STOP_WAIT_S)
    # What `dagster dev` left behind, should it have died or hung.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _end_with_parent() -> Callable[[], None] | None:
    """What the child calls before it becomes `dagster dev`: a SIGTERM when we die, `kill -9` included (Linux).

    Without it a daemon could go on trading unseen.
    """
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    pr_set_pdeathsig = 1
    return lambda: libc.prctl(pr_set_pdeathsig, signal.SIGTERM) and None


def _workspace() -> tuple[str, ...]:
    return ("--workspace", str(PROJECT_ROOT / "workspace.yaml"))


def _wait_until_ready(url: str, child: subprocess.Popen[bytes], stop: _Stop) -> str:
    """Wait for the graph; '' when it loaded, else why it did not. Raises UiFailed when there is no UI at all."""
    deadline = time.monotonic() + READY_WAIT_S
    while not stop.asked:
        if child.poll() is not None:
            raise UiFailed(f"the Dagster UI did not start (exit {child.returncode})", "see the lines above")
        if time.monotonic() > deadline:
            raise UiFailed(f"the Dagster UI did not answer in {READY_WAIT_S:g} s", "see the lines above")
        answer = _ask_for_graph(url)
        if answer is not None:
            return answer
        time.sleep(POLL_S)
    return ""


def _ask_for_graph(url: str) -> str | None:
    """None while it loads, '' when it is there, else the first line of what is wrong."""
    # No proxy may stand between us and our own child.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(
        f"{url}/graphql", json.dumps({"query": GRAPH_QUERY}).encode(), {"Content-Type": "application/json"}
    )
    try:
        with opener.open(request, timeout=10) as response:
            workspace: dict[str, Any] = json.load(response)["data"]["workspaceOrError"]
    except (urllib.error.URLError, OSError, ValueError, KeyError):
        return None
    if "locationEntries" not in workspace:
        return str(workspace.get("message", "unknown")).strip().splitlines()[0]
    entries = workspace["locationEntries"]
    if not entries or any(entry["loadStatus"] == "LOADING" or not entry["locationOrLoadError"] for entry in entries):
        return None
    failures = [entry["locationOrLoadError"].get("message") for entry in entries]
    return next((failure.strip().splitlines()[-1] for failure in failures if failure), "")
