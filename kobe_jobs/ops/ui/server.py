"""The Dagster UI with its daemon, and the reports beside it: one code server for both, three children, taken down whole.

Everything listens on loopback or on a socket in a private folder. It trusts the environment for KOBE_HOME and the
settings, which its children inherit.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kobe_jobs.ops.ui.signals import Stop, stop_signals
from kobe_jobs.ops.ui.supervisor import Children
from kobe_resources.errors import KobeError
from kobe_resources.runtime.dagster_instance import dagster_home, end_lost_runs, prepare_storage
from kobe_resources.runtime.locks import exclusive
from kobe_resources.runtime.report_site import LOOPBACK, listen_on, recorded_port, serving_reports
from kobe_resources.settings.load import kobe_home

MODULE = "kobe_jobs.definitions"
DEFAULT_PORT = 3000
FOLDER = "kobe-ui-"
"""How the folders of our sockets are called."""
READY_WAIT_S = 120.0
POLL_S = 0.1
CODE_PATIENCE_S = 3600
"""Seconds without a heartbeat after which the code server ends itself. Dagster's 30 s pass on a machine that is busy or was
frozen, and nothing would start it again. `Children` ends it with us."""
LOOK_S = 5.0
LOST_S = 60.0
"""A graph that stays unreachable this long is lost: Dagster's code server goes on without it and starts no other."""
UNREACHABLE = "the process with the graph ended by itself"
GRAPH_QUERY = """{ workspaceOrError { __typename ... on PythonError { message } ... on Workspace { locationEntries {
  loadStatus locationOrLoadError { __typename ... on PythonError { message errorChain { error { message } } } } } } } }"""


class UiFailed(KobeError):
    """The UI did not start, or ended by itself."""


def run_ui(
    port: int | None,
    report_port: int | None,
    say: Callable[[str], None],
    on_ready: Callable[[str], None] = lambda url: None,
    module: str = MODULE,
) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP, then stop every child. Returns normally when asked to stop.

    say: shows a line to the person. on_ready: called once with the UI's URL. module: the code location.
    Raises PortBusy or UiFailed.
    """
    with _only_one(), stop_signals() as stop, contextlib.ExitStack() as stack:
        reports = stack.enter_context(
            listen_on(recorded_port() if report_port is None else report_port, "name another with --report-port")
        )
        with listen_on(DEFAULT_PORT if port is None else port, "name another with --port") as probe:
            ui_port = probe.getsockname()[1]
        prepare_storage()
        url = f"http://{LOOPBACK}:{ui_port}"
        code = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=FOLDER))) / "code.sock"
        children = stack.enter_context(_dagster(module, code, ui_port, stop))
        # Heavy, and loaded while the children load what they need.
        from kobe_jobs.ops.ui.account_page.routes import account_routes

        problem = _wait_for(lambda: _ask_for_graph(url), children, stop)
        reports_url = stack.enter_context(serving_reports(reports, pages=account_routes()))
        if not stop.asked:
            if problem:
                say(f"the graph does not load: {problem} (see {log_path()})")
            say(f"Kobe UI {url} · reports {reports_url} · account {reports_url}account · Ctrl-C stops all")
            on_ready(url)
            # Only now, because it takes a second. While we hold the lock, no other `kobe ui` of this folder has a code server.
            for run_id in end_lost_runs(lambda socket: FOLDER in socket and socket != str(code)):
                say(f"run {run_id[:8]} had lost its process and counts as failed now")
        watch = _GraphWatch(url)
        while not stop.wait(POLL_S):
            _refuse_dead(children)
            watch.refuse_lost()
        say("stopping; a run at work may end first, Ctrl-C again ends everything now")


@contextlib.contextmanager
def _only_one() -> Iterator[None]:
    """Hold the lock of the UI, because two daemons on one history would both run schedules and sensors."""
    refusal = UiFailed("another `kobe ui` serves this data folder", "use that one, or stop it first")
    with exclusive(dagster_home() / "ui.lock", refusal):
        yield


@contextlib.contextmanager
def _dagster(module: str, code: Path, port: int, stop: Stop) -> Iterator[Children]:
    """Code server at the socket `code`, webserver and daemon, all gone at the end of the block."""
    # Given, so that no change of the settings moves the data folder under a graph at work.
    environment = {"DAGSTER_HOME": str(dagster_home()), "KOBE_HOME": str(kobe_home())}
    with Children(environment, log_path(), stop) as children:
        workspace = code.with_name("workspace.yaml")
        # The location keeps its name over restarts: the state of sensors and schedules hangs on it.
        location = {"grpc_server": {"socket": str(code), "location_name": module}}
        workspace.write_text(json.dumps({"load_from": [location]}), encoding="utf-8")
        quiet = ("--log-level", "warning")
        children.start(
            "code server",
            *("dagster", "code-server", "start", "--socket", str(code), "--module-name", module, "--location-name", module),
            *("--use-python-environment-entry-point", "--heartbeat-ttl", str(CODE_PATIENCE_S), *quiet),
        )
        _wait_for(lambda: "" if code.exists() else None, children, stop)
        served = ("--workspace", str(workspace))
        children.start(
            "webserver",
            "kobe_jobs.ops.ui.guard",
            "--host",
            LOOPBACK,
            "--port",
            str(port),
            "--dagster-log-level",
            "warning",
            *served,
        )
        children.start("daemon", "dagster._daemon", "run", *quiet, *served)
        yield children


def log_path() -> Path:
    """Where the children's output goes."""
    return kobe_home() / "logs" / "dagster.log"


def _wait_for(ask: Callable[[], str | None], children: Children, stop: Stop) -> str:
    """The first answer that is not None, '' on a request to stop. Raises UiFailed when a child ends, or when time is over."""
    deadline = time.monotonic() + READY_WAIT_S
    while not stop.asked:
        answer = ask()
        if answer is not None:
            return answer
        _refuse_dead(children)
        if time.monotonic() > deadline:
            raise UiFailed(f"the Dagster UI did not answer in {READY_WAIT_S:g} s", f"see {log_path()}")
        stop.wait(POLL_S)
    return ""


def _refuse_dead(children: Children) -> None:
    dead = children.first_dead()
    if dead:
        raise UiFailed(f"the {dead} ended by itself", f"see {log_path()}")


class _GraphWatch:
    """Asks for the asset graph from time to time, because no schedule and no sensor runs without it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._looked = self._seen = time.monotonic()

    def refuse_lost(self) -> None:
        """Raises UiFailed when it has been unreachable for `LOST_S`."""
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        if _ask_for_graph(self._url) != UNREACHABLE:
            self._seen = now
        elif now - self._seen > LOST_S:
            raise UiFailed(UNREACHABLE, f"start `kobe ui` again; {log_path()} may say why")


def _ask_for_graph(url: str) -> str | None:
    """None while it loads, '' when it is there, else the cause that keeps it from loading."""
    # No proxy may stand between us and our own child.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    body = json.dumps({"query": GRAPH_QUERY}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"Content-Type": "application/json"})
    try:
        with opener.open(request, timeout=10) as response:
            workspace: dict[str, Any] = json.load(response)["data"]["workspaceOrError"]
    except (http.client.HTTPException, OSError, ValueError, KeyError, TypeError):
        # Cut off, no JSON, or an answer of errors only.
        return None
    if "locationEntries" not in workspace:
        return _first_line(workspace.get("message"))
    entries = workspace["locationEntries"]
    if not entries or any(entry["loadStatus"] == "LOADING" or not entry["locationOrLoadError"] for entry in entries):
        return None
    failures = [entry["locationOrLoadError"] for entry in entries if "message" in entry["locationOrLoadError"]]
    if not failures:
        return ""
    return UNREACHABLE if "UserCodeUnreachable" in failures[0]["message"] else _first_line(_root_cause(failures[0]))


def _root_cause(failure: dict[str, Any]) -> str:
    chain = [link["error"]["message"] for link in failure.get("errorChain") or []]
    return str(chain[-1] if chain else failure["message"])


def _first_line(message: str | None) -> str:
    return next(iter((message or "").strip().splitlines()), "unknown")
