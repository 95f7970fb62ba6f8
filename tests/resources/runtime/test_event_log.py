"""The event log: one JSON line an event, whole under many writers, and never a key in it."""

from __future__ import annotations

import datetime as dt
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from kobe_resources.runtime import event_log
from kobe_resources.runtime.event_log import append_line, configure_logging, event_context, events_path, get_logger, redact

KEY_ID = "PKTESTKEYID0123456789"
SECRET = "sQ7/secret+value==with&odd chars"
POLYGON_KEY = "pOlYgOnKeY_0987654321"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KOBE_HOME", str(tmp_path))
    monkeypatch.setenv("ALPACA_API_KEY_ID", KEY_ID)
    monkeypatch.setenv("ALPACA_API_SECRET_KEY", SECRET)
    monkeypatch.setenv("POLYGON_API_KEY", POLYGON_KEY)
    return tmp_path


@pytest.fixture
def library_logging() -> Iterator[None]:
    configure_logging()
    configure_logging()
    yield
    root = logging.getLogger()
    ours = [handler for handler in root.handlers if isinstance(handler, event_log._LibraryHandler)]
    assert len(ours) == 1, "configured twice, attached once"
    root.removeHandler(ours[0])


@pytest.fixture
def echoing_server() -> Iterator[str]:
    """Answers 401 with everything the request carried, keys included: the worst a proxy can do."""

    class Echo(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"message": f"unauthorized {self.path} {dict(self.headers)}", "code": 40110000}).encode()
            self.send_response(401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def events() -> list[dict[str, Any]]:
    return [json.loads(line) for line in events_path().read_text(encoding="utf-8").splitlines()]


def assert_no_key_in_file() -> None:
    text = events_path().read_text(encoding="utf-8")
    for key in (KEY_ID, SECRET, POLYGON_KEY, requests.utils.quote(SECRET), requests.utils.quote(SECRET, safe="")):
        assert key not in text
        assert json.dumps(key)[1:-1] not in text


def test_an_event_carries_its_ids_and_fields() -> None:
    log = get_logger("kobe.trading")
    with event_context(run_id="run-1", session=dt.date(2024, 3, 1), stage="paper"):
        with event_context(order_id="o-9"):
            log.info("order_submitted", qty=3, limit=10.5)
        log.warning("after")
    log.info("outside")
    first, second, third = events()
    assert first | {"time": "", "pid": 0} == {
        "time": "",
        "pid": 0,
        "level": "info",
        "logger": "kobe.trading",
        "event": "order_submitted",
        "run_id": "run-1",
        "session": "2024-03-01",
        "stage": "paper",
        "order_id": "o-9",
        "qty": 3,
        "limit": 10.5,
    }
    assert dt.datetime.fromisoformat(first["time"]).utcoffset() == dt.timedelta(0)
    assert "order_id" not in second
    assert second["run_id"] == "run-1"
    assert "run_id" not in third


def test_real_alpaca_exceptions_leave_no_key(echoing_server: str, library_logging: None) -> None:
    from alpaca.common.exceptions import APIError
    from alpaca.trading.client import TradingClient

    log = get_logger("test")
    client = TradingClient(KEY_ID, SECRET, url_override=echoing_server)
    client._session.trust_env = False
    with pytest.raises(APIError) as refused:
        client.get_account()
    # What alpaca-py hands out does hold the keys; that is the point of the exercise.
    assert SECRET in str(refused.value)
    log.error("broker_refused", error=refused.value, headers=refused.value.request.headers, text=str(refused.value))
    try:
        client.get_account()
    except APIError:
        log.exception("broker_refused_with_traceback", request=vars(refused.value.request))
    assert len(events()) >= 2
    assert "APIError" in events()[-1]["exception"]
    assert_no_key_in_file()


def test_real_polygon_exceptions_leave_no_key(echoing_server: str, library_logging: None) -> None:
    from polygon import RESTClient
    from polygon.exceptions import AuthError, BadResponse
    from urllib3.exceptions import MaxRetryError

    log = get_logger("test")
    try:
        list(RESTClient(POLYGON_KEY, base=echoing_server, retries=0).list_splits("AAPL"))
    except (AuthError, BadResponse) as error:
        log.exception("vendor_refused", error=error, seen=repr(error.args))
    closed = "http://127.0.0.1:9"
    unreachable = RESTClient(POLYGON_KEY, base=closed, retries=1)
    try:
        unreachable._get(f"/v3/reference/splits?apiKey={POLYGON_KEY}&limit=2")
    except MaxRetryError:
        log.exception("vendor_unreachable", headers=unreachable.headers)
    names = [event["event"] for event in events()]
    assert "vendor_refused" in names
    assert "vendor_unreachable" in names
    assert any(event["logger"].startswith("urllib3") for event in events()), "the library's own warning is there too"
    assert_no_key_in_file()


def test_real_requests_exceptions_leave_no_key() -> None:
    session = requests.Session()
    session.trust_env = False
    try:
        session.get("http://127.0.0.1:9/v2", params={"apiKey": SECRET, "x": 1}, timeout=1)
    except requests.ConnectionError as error:
        get_logger("test").exception("unreachable", error=error, request=error.request.url)
    assert "apiKey=[redacted]" in events()[0]["exception"]
    assert_no_key_in_file()


def test_a_traceback_of_a_chain_leaves_no_key() -> None:
    try:
        try:
            raise ValueError(f"bad key {SECRET!r}")
        except ValueError as error:
            raise RuntimeError("outer") from error
    except RuntimeError:
        get_logger("test").exception("failed")
    assert "bad key" in events()[0]["exception"]
    assert_no_key_in_file()


@pytest.mark.parametrize(
    ("value", "gone"),
    [
        ({"APCA-API-SECRET-KEY": "unknown-1"}, "unknown-1"),
        ({"nested": [{"apiKey": "unknown-2"}]}, "unknown-2"),
        ("https://host/v3?apiKey=unknown-3&limit=5", "unknown-3"),
        ("Authorization: Bearer unknown-4-token", "unknown-4-token"),
        ("{'APCA-API-KEY-ID': 'unknown-5', 'x': 1}", "unknown-5"),
        (b"POLYGON_API_KEY=unknown-6", "unknown-6"),
        ("https://user:unknown-7@proxy.local:3128/", "unknown-7"),
        ({"alert_webhook": "https://hooks.example/unknown-8"}, "unknown-8"),
        ('{"api_key": "unknown-9", "n": 1}', "unknown-9"),
    ],
)
def test_keys_never_seen_before_are_known_by_their_looks(value: Any, gone: str) -> None:
    cleaned = json.dumps(redact(value))
    assert gone not in cleaned
    assert "[redacted]" in cleaned


def test_what_is_no_secret_stays() -> None:
    plain = {
        "symbol": "KEYS",
        "page_token": "abc",
        "note": "secrets are kept; the token bucket is full",
        "price": 1.25,
        "n": None,
    }
    assert redact(plain) == plain


def test_a_hidden_webhook_is_redacted_with_and_without_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "_hidden", set())
    event_log.hide("https://hooks.example/services/T0/B0/abcdef")
    assert redact("Max retries exceeded with url: /services/T0/B0/abcdef") == "Max retries exceeded with url: [redacted]"


def test_odd_values_are_logged_and_not_raised() -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise ValueError("no")

    loop: dict[str, Any] = {}
    loop["self"] = loop
    get_logger("test").info(
        "odd",
        huge=10**40,
        nan=float("nan"),
        raw=b"\xff\x00",
        thing=Unprintable(),
        loop=loop,
        lone="\udc80",
        keys={1: 2, Unprintable(): 3},
        long="x" * 50_000,
    )
    (event,) = events()
    assert event["huge"] == str(10**40)
    assert event["nan"] == "nan"
    assert event["thing"] == "<Unprintable: ValueError>"
    assert event["keys"] == {"1": 2, "<Unprintable: ValueError>": 3}
    assert event["long"].endswith("(50000 characters)")


@pytest.mark.parametrize(("text", "arguments"), [("%d", ("x",)), ("%(a)s", ({"b": 1},)), ("%s %s", ("x",))])
def test_a_library_whose_arguments_do_not_fit_its_message_is_logged_and_stops_nothing(text: str, arguments: Any) -> None:
    # Apart from the root, where pytest raises what its own handler meets.
    logging.Logger.manager.loggerDict.pop("library", None)
    logger = logging.getLogger("library")
    logger.propagate = False
    logger.addHandler(event_log._LibraryHandler())
    logger.warning(text, *arguments)
    assert [(event["logger"], event["event"]) for event in events()] == [("library", text)]


@pytest.mark.parametrize(
    "text", ["x" * 300_000, "a." * 150_000, "apikey" * 50_000, "secret-" * 40_000, "a://" * 70_000, "Bearer " * 40_000]
)
def test_a_long_hostile_text_is_cleaned_in_linear_time(text: str) -> None:
    started = time.thread_time()
    redact(text)
    assert time.thread_time() - started < 2.0


def test_a_line_break_in_a_value_makes_no_second_line() -> None:
    get_logger("test").info("broken", text='a\n{"event": "forged"}')
    assert len(events()) == 1


WRITER = """
import sys
from pathlib import Path
from kobe_resources.runtime.event_log import append_line
for number in range(250):
    append_line(Path(sys.argv[1]), f"{sys.argv[2]}-{number}-" + "x" * 60, max_bytes=9_000, keep=500)
"""


def test_several_processes_rotate_and_lose_or_tear_nothing(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "events.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in "abc"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    files = list(path.parent.glob("events*.jsonl"))
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert sorted(lines) == sorted(f"{name}-{number}-" + "x" * 60 for name in "abc" for number in range(250))
    assert len(files) > 3
    assert max(file.stat().st_size for file in files) <= 9_000 + 80


def test_only_so_many_old_files_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "events.jsonl"
    for number in range(60):
        append_line(path, f"{number:02d}" + "x" * 98, max_bytes=1_000, keep=2)
    assert sorted(file.name for file in path.parent.glob("*.jsonl")) == ["events.1.jsonl", "events.2.jsonl", "events.jsonl"]
    assert path.with_suffix(".1.jsonl").read_text() > path.with_suffix(".2.jsonl").read_text(), ".1 is the newest"


def test_a_torn_line_of_a_killed_writer_does_not_swallow_the_next(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "events.jsonl"
    path.parent.mkdir()
    path.write_text('{"event": "to')
    append_line(path, "whole")
    assert path.read_text().splitlines() == ['{"event": "to', "whole"]


def test_an_unwritable_log_is_said_once_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(event_log, "_complained", threading.Event())
    (tmp_path / "logs").write_text("a file where the folder should be")
    log = get_logger("test")
    log.info("one")
    log.info("two")
    assert capsys.readouterr().err.count("cannot be written") == 1


def test_the_log_is_readable_by_its_owner_only() -> None:
    get_logger("test").info("x")
    assert events_path().stat().st_mode & 0o077 == 0
