"""`kobe ui` with the real Dagster: up on loopback, one per data folder, and gone without a trace however it ends."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from kobe_jobs.ops.ui.server import UiFailed, _ask_for_graph, run_ui
from kobe_resources.runtime.report_site import PortBusy, listen_on
from tests.support.drivers.processes import outliving

GRAPH = """
import dagster as dg

@dg.asset
def first():
    return 1

@dg.asset(deps=[first])
def second():
    return 2

defs = dg.Definitions(assets=[first, second])
"""
KEY = "polygon-key-0123456789"
SERVE = """
import sys
from kobe_jobs.ops.ui import server as ui
ui.LOOK_S, ui.LOST_S = 0.2, 1.0
try:
    ui.run_ui(0, 0, lambda line: print(line, flush=True), module=sys.argv[1])
except ui.UiFailed as error:
    sys.exit(str(error))
"""


class Running:
    """A `kobe ui` in a process of its own."""

    def __init__(self, folder: Path, module: str) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("KOBE_", "DAGSTER_"))}
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, module],
            env={**env, "KOBE_HOME": str(folder / "home"), "PYTHONPATH": str(folder), "POLYGON_API_KEY": KEY},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # As a shell script leaves it for what it starts with `&`.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        )
        assert self.process.stdout is not None
        self.lines: list[str] = []
        for line in self.process.stdout:
            self.lines.append(line)
            found = re.search(r"Kobe UI (\S+) · reports (\S+)", line)
            if found:
                self.url, self.reports = found[1], found[2]
                break
        else:
            raise AssertionError(self.process.communicate()[1])
        self.seconds = time.monotonic() - self.started
        self.children = psutil.Process(self.process.pid).children(recursive=True)

    def end(self) -> None:
        for child in self.children:
            if child.is_running():
                child.kill()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "stub_graph.py").write_text(GRAPH)
    (tmp_path / "broken_graph.py").write_text(f"raise RuntimeError('no such vendor\\n{KEY}')\n")
    (tmp_path / "home" / "reports").mkdir(parents=True)
    (tmp_path / "home" / "reports" / "kpi_report.html").write_text("the report")
    return tmp_path


@pytest.fixture
def running(folder: Path) -> Iterator[Running]:
    ui = Running(folder, "stub_graph")
    yield ui
    ui.end()


def status_of(url: str, path: str, headers: dict[str, str], body: bytes | None = None) -> int:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    connection.request("GET" if body is None else "POST", path, body, headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_it_serves_the_graph_and_the_reports_on_loopback_and_ends_clean(
    folder: Path, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = json.dumps({"query": "{ assetNodes { assetKey { path } } }"}).encode()
    request = urllib.request.Request(f"{running.url}/graphql", query, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        nodes = json.load(response)["data"]["assetNodes"]
    assert sorted(node["assetKey"]["path"][0] for node in nodes) == ["first", "second"]
    with urllib.request.urlopen(f"{running.reports}kpi_report.html", timeout=10) as response:
        assert response.read() == b"the report"

    mutation = urllib.parse.quote("mutation { reloadWorkspace { __typename } }")
    port = running.url.rpartition(":")[2]
    own, foreign = {"Origin": running.url}, {"Origin": "http://evil.example"}
    as_json = {"Content-Type": "application/json"}
    assert status_of(running.url, "/graphql", as_json | own, query) == 200
    assert status_of(running.url, "/graphql", as_json | foreign, query) == 403
    assert status_of(running.url, "/graphql", as_json | {"Host": f"evil.example:{port}"}, query) == 403
    assert status_of(running.url, f"/graphql?query={mutation}", {}) == 403
    assert status_of(running.url, f"/graphql?query={mutation}", {"Content-Type": "text/plain"}, b"") == 403
    assert status_of(running.url, "/report_asset_materialization/first", as_json | foreign, b"{}") == 403
    assert status_of(running.url, "/assets", {"Accept": "text/html"}) == 200
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    assert status_of(running.url, "/graphql", upgrade | foreign) == 403
    assert status_of(running.url, "/graphql", upgrade | own) == 101

    listening = [
        address.laddr.ip
        for process in [psutil.Process(running.process.pid), *running.children]
        for address in process.net_connections(kind="inet")
        if address.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 2
    assert set(listening) == {"127.0.0.1"}

    monkeypatch.setenv("KOBE_HOME", str(folder / "home"))
    with pytest.raises(UiFailed, match="another `kobe ui`"):
        run_ui(0, 0, print)

    running.process.send_signal(signal.SIGTERM)
    _, complaints = running.process.communicate(timeout=40)
    assert running.process.returncode == 0
    assert complaints == ""
    assert not outliving(running.children, 10)
    assert len(running.children) >= 4, "code server, webserver and daemon ran"


def test_a_graph_that_does_not_load_is_named_and_kill_leaves_no_daemon(folder: Path) -> None:
    ui = Running(folder, "broken_graph")
    try:
        assert any("the graph does not load: RuntimeError: no such vendor" in line for line in ui.lines)
        log = (folder / "home" / "logs" / "dagster.log").read_text()
        assert "no such vendor" in log
        assert KEY not in log, "what the children print is redacted too"
        ui.process.kill()
        assert not outliving(ui.children, 60), "a daemon without its master would go on trading"
    finally:
        ui.end()


def test_a_lost_graph_ends_the_ui_which_would_else_run_without_schedules_and_sensors(running: Running) -> None:
    graph = next(child for child in running.children if "grpc" in child.cmdline())
    assert "3600" in graph.cmdline(), "patient with a machine that is busy or was frozen"
    graph.kill()
    _, complaints = running.process.communicate(timeout=60)
    assert running.process.returncode == 1
    assert "the process with the graph ended by itself: start `kobe ui` again" in complaints
    assert not outliving(running.children, 10)


@pytest.mark.parametrize(
    "answer", [b'{"errors": [{"message": "no"}], "data": null}', b'{"data": {"workspaceOrError": nul', b"[]", b"HTTP"]
)
def test_an_answer_that_is_none_of_a_graph_is_asked_again(answer: bytes) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer) + (answer == b"HTTP")))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert _ask_for_graph(f"http://127.0.0.1:{server.server_port}") is None
        server.shutdown()


def test_busy_ports_are_refused_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_HOME", str(tmp_path))
    before = psutil.Process().children()
    with listen_on(0, "") as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortBusy, match=f"port {port} .*--report-port"):
            run_ui(0, port, print)
        with pytest.raises(PortBusy, match=f"port {port} .*--port"):
            run_ui(port, 0, print)
    assert psutil.Process().children() == before
