"""Every command through the faults of this world: one line that names the mend, a documented exit code, no traceback."""

from __future__ import annotations

import contextlib
import ctypes
import http.server
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from kobe_jobs.cli.main import app
from kobe_resources.market_data.over_network import RetryBudget
from kobe_resources.warehouse.store import Warehouse
from tests.support.drivers.command import Ended, kobe

SETTINGS = """
[data]
vendor = "synthetic"
synthetic.symbols = 3
synthetic.sessions = 560

[report]
resamples = 0
permutations = 0

[walk_forward.grid]
rsi2 = { rsi_entry = [10, 15] }
ibs = { ibs_entry = [0.2] }
rsi2_ibs = { rsi_entry = [10] }
"""
DAY = "2011-06-01"
GIVEN: dict[str, list[str]] = {
    "init": ["init", "--vendor", "sample", "--out", "other.toml"],
    "materialize": ["materialize", "universe"],
    "backtest": ["backtest", "--strategy", "rsi2"],
    "replay": ["replay", "--start", DAY, "--end", DAY],
    "trade": ["trade", "--session", DAY],
    "trace": ["trace", "sim:rsi2:canonical:S00000:2011-06-01"],
    "bars as-of": ["bars as-of", DAY, "--out", "as_it_was"],
    "backup": ["backup", "saved.tar.gz"],
    "config docs": ["config docs", "--out", "pages"],
}
"""Commands whose arguments must make sense; the others get something of the right type for each that they require."""
SERVERS = {"ui"}
"""Runs until it is stopped; tests/jobs/ops/test_ui.py has its faults."""
HEAVY = {"materialize", "replay", "sweep", "backtest", "strategies check"}
"""Commands that compute: they walk where a fault ends them at once; elsewhere `report` stands for them."""
READ_STRATEGIES = {
    *("report", "trade", "preflight", "strategies list", "strategies check", "config pin", "health", "kill on"), *HEAVY,
}  # fmt: skip
FAILS_WHEN_ASKED = """
from kobe_assets.research.language import Strategy, rsi
BROKEN = Strategy(
    name="broken", summary="Fails", indicators={"rsi2": rsi(2)}, parameters={"entry": 10.0},
    long=lambda at, p: at.rsi2 <= p["entri"], score_long=lambda at: at.rsi2, grid={"entry": (5.0, 10.0)},
)
"""
DOCUMENTED = {0, 1, 2}
ROOM = 40_000
"""Bytes that a file may have on the full disk."""


@cache
def lines() -> dict[str, list[str]]:
    """The name of every command → its arguments."""
    found: dict[str, list[str]] = {}

    def follow(command: Any, name: list[str]) -> None:
        below = getattr(command, "commands", {})
        for word, one in below.items():
            follow(one, [*name, word])
        if not below or getattr(command, "invoke_without_command", False):
            full_name = " ".join(name)
            if full_name and full_name not in SERVERS:
                words = [*name, *(part for one in command.params if one.required for part in _something(one))]
                found[full_name] = GIVEN[full_name][0].split() + GIVEN[full_name][1:] if full_name in GIVEN else words

    follow(typer.main.get_command(app), [])
    return found


def _something(parameter: Any) -> list[str]:
    value = DAY if "DD" in str(parameter.metavar) else "something"
    return [value] if parameter.param_type_name == "argument" else [parameter.opts[0], value]


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with settings and a data folder in which everything was computed, swept and traded once."""
    folder = tmp_path_factory.mktemp("computed")
    (folder / "kobe.toml").write_text(SETTINGS, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("KOBE_HOME", str(folder / "home"))
        for words in (["report"], ["sweep"], ["report"], ["trade", "--session", DAY]):
            ended = kobe(*words)
            assert ended.code == 0, ended.err
    return folder


@pytest.fixture
def place(computed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, and the current folder."""
    folder = tmp_path / "place"
    shutil.copytree(computed, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("KOBE_HOME", str(folder / "home"))
    monkeypatch.setattr(Warehouse.__init__, "__defaults__", (None, 0.1, False))
    monkeypatch.setattr("kobe_jobs.cli.main.PERSON_WAITS_S", 0.1)
    monkeypatch.setattr("kobe_jobs.ops.backup.files.LOCK_WAIT_S", 0.1)
    monkeypatch.setattr("kobe_jobs.ops.health.checks.LOCK_WAIT_S", 0.1)
    monkeypatch.setattr("webbrowser.open", lambda url: None)
    return folder


def faults_of(ended: Ended) -> str:
    """What is wrong with how a command ended; "" where nothing is."""
    own_lines = [line for line in ended.err.splitlines() if line.startswith("kobe: ") and not line.startswith("kobe: warning")]
    if ended.code not in DOCUMENTED:
        return f"exit code {ended.code}"
    if "Traceback" in ended.err + ended.out:
        return f"a traceback: {ended.err[-300:]}"
    if len(own_lines) > 1:
        return f"{len(own_lines)} lines: {own_lines}"
    if ended.code and own_lines and ": " not in own_lines[0].removeprefix("kobe: "):
        return f"no mend: {own_lines[0]}"
    if ended.code == 2 and not own_lines:
        return "exit 2 without a line"
    return ""


def walk(*, needs: set[str] | None = None, allowed: set[str] | None = None) -> dict[str, str]:
    """Every command that ended badly → why. needs: commands that must fail. allowed: the only ones that are run."""
    bad = {}
    for name, words in lines().items():
        if name not in (allowed if allowed is not None else lines().keys() - HEAVY):
            continue
        shutil.rmtree("as_it_was", ignore_errors=True)
        Path("other.toml").unlink(missing_ok=True)
        try:
            ended = kobe(*words)
        except Exception as error:  # noqa: BLE001 - what a person would see as a traceback is what this test looks for
            bad[name] = f"raises {type(error).__name__}: {str(error)[:300]}"
            continue
        why = faults_of(ended)
        if not why and needs and name in needs and ended.code == 0:
            why = f"ends well: {ended.out[-200:]}"
        if why:
            bad[name] = why
    return bad


READERS = {"report", "universe validate", "bars refresh"}
"""Commands that can do nothing without a sound warehouse."""


def test_the_walk_meets_every_command() -> None:
    assert len(lines()) > 25
    assert {"init", "kill on", "bars as-of", "audit verify"} <= lines().keys()


def test_without_a_fault_every_command_ends_as_documented(place: Path) -> None:
    assert walk(allowed=set(lines())) == {}


@pytest.mark.parametrize(
    "text",
    [
        "[data\nvendor = 1",
        '[data]\nvendor = "bloomberg"',
        "[sizing]\nfraktion = 0.1",
        '[policy]\nmax_price = "dear"',
        "\x00\x01",
        'data = "files"',
    ],
)
def test_broken_settings(place: Path, text: str) -> None:
    (place / "kobe.toml").write_text(text, encoding="utf-8")
    needs = READERS | HEAVY | {"trade", "preflight", "reconcile", "config show", "config pin", "account reset"}
    assert walk(needs=needs, allowed=set(lines())) == {}


def test_settings_that_are_no_text_or_no_file(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "kobe.toml").write_bytes(b"\xff\xfe\xfa" * 100)
    assert walk(needs=READERS) == {}
    monkeypatch.setenv("KOBE_CONFIG", str(place))
    assert walk(needs=READERS) == {}
    monkeypatch.delenv("KOBE_CONFIG")
    (place / "kobe.toml").unlink()
    (place / "kobe.toml").mkdir()
    assert walk(needs=READERS | {"trade", "config pin"}, allowed=READERS | {"trade", "config pin", "kill on"}) == {}


@pytest.mark.parametrize("name", ["home", "above"])
def test_a_file_where_the_data_folder_must_be(place: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(place / "home")
    (place / "home").write_text("a file", encoding="utf-8")
    monkeypatch.setenv("KOBE_HOME", str(place / ("home" if name == "home" else "home/below")))
    assert walk(needs=READERS | HEAVY | {"trade", "backup", "kill on"}, allowed=set(lines())) == {}


@pytest.mark.parametrize("name", ["logs", "reports", "dagster", "backtests", "orders.sqlite", "audit.jsonl", "KILL_SWITCH"])
def test_a_file_where_a_folder_must_be_or_the_reverse(place: Path, name: str) -> None:
    path = place / "home" / name
    if path.is_dir():
        shutil.rmtree(path)
        path.write_text("a file", encoding="utf-8")
    else:
        path.unlink(missing_ok=True)
        path.mkdir()
        (path / "something").write_text("x", encoding="utf-8")
    assert walk() == {}


def damage_all(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1000)


def damage_some(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for place in range(4096 * 3, len(content), 1024):
        content[place : place + 8] = b"\xde\xad\xbe\xef\xde\xad\xbe\xef"
    path.write_bytes(content)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def be_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [damage_all, damage_some, cut_off, be_a_folder])
@pytest.mark.parametrize("name", ["kobe.duckdb", "orders.sqlite"])
def test_a_damaged_store(place: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(place / "home" / name)
    if name == "orders.sqlite":
        assert walk(needs={"trade", "audit verify", "reconcile"}) == {}
    else:
        assert walk(needs={"report", "sweep", "backtest"}, allowed=set(lines())) == {}


@pytest.fixture
def held(place: Path) -> Iterator[None]:
    """The warehouse is open in another process."""
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(1, flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(place / "home" / "kobe.duckdb")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.kill()


def test_a_locked_warehouse(held: None) -> None:
    assert walk(needs=READERS | HEAVY | {"universe show", "backup", "account"}, allowed=set(lines())) == {}


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """No file grows beyond `ROOM`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk(place: Path) -> None:
    (place / "kobe.toml").write_text(SETTINGS.replace("560", "565"), encoding="utf-8")
    with full_disk():
        bad = walk(needs={"report", "backup"})
    assert bad == {}


CAPABILITIES = 0x20080522
"""The version of Linux's capget and capset whose sets are of 64 bits."""
OVERRIDES = 0b110
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: root reads and writes what it likes."""


@contextlib.contextmanager
def as_a_plain_user() -> Iterator[None]:
    """Permissions of files hold, for root too."""
    libc, head, before = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(CAPABILITIES, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(head, before) == 0
    lower = (ctypes.c_uint32 * 6)(*before)
    lower[0] &= ~OVERRIDES & 0xFFFFFFFF
    assert libc.capset(head, lower) == 0
    try:
        yield
    finally:
        assert libc.capset(head, before) == 0


def test_a_folder_that_may_only_be_read(place: Path) -> None:
    for path in (place, *place.rglob("*")):
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        with as_a_plain_user():
            assert not os.access(place / "home", os.W_OK, effective_ids=True)
            bad = walk(needs={"report", "trade", "kill on", "account reset", "init"})
    finally:
        for path in (place, *place.rglob("*")):
            path.chmod(0o700)
    assert bad == {}


class Refusing(http.server.BaseHTTPRequestHandler):
    """Takes no key."""

    def do_GET(self) -> None:
        body = b'{"status": "ERROR", "error": "Unknown API Key", "message": "unauthorized."}'
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def refusing() -> Iterator[str]:
    """The address of a server that takes no key."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("vendor", ["polygon", "alpaca"])
def test_a_key_that_the_vendor_or_the_broker_refuses(
    place: Path, vendor: str, refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = SETTINGS.replace('"synthetic"', f'"{vendor}"', 1) + '[broker]\nstage = "paper"\n'
    (place / "kobe.toml").write_text(text, encoding="utf-8")
    for name in ("DATA__POLYGON__BASE_URL", "DATA__ALPACA__BASE_URL", "DATA__ALPACA__ASSETS_URL"):
        monkeypatch.setenv(f"KOBE_{name}", refusing)
    for name in ("BASE_URL", "DATA_URL"):
        monkeypatch.setenv(f"KOBE_BROKER__{name}", refusing)
    for name, value in {**VENDORS["polygon"], **VENDORS["alpaca"]}.items():
        monkeypatch.setenv(name, value)
    asking = {"report", "bars refresh", "trade", "preflight", "reconcile"}
    assert walk(needs=asking, allowed=asking | {"health", "kill on", "kill off", "account"}) == {}


VENDORS = {
    "polygon": {"POLYGON_API_KEY": "a-key-of-some-length"},
    "alpaca": {"ALPACA_API_KEY_ID": "PKWRONG0000000000000", "ALPACA_API_SECRET_KEY": "a-secret-of-some-length"},
}


@pytest.mark.parametrize("keys", [True, False], ids=["no network", "no key"])
@pytest.mark.parametrize("vendor", list(VENDORS))
def test_a_vendor_without_network_or_key(place: Path, vendor: str, keys: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "kobe.toml").write_text(SETTINGS.replace('"synthetic"', f'"{vendor}"', 1), encoding="utf-8")
    haste = {"after_rate": 0, "after_server": 0, "after_transport": 0, "after_malformed": 0}
    monkeypatch.setattr("kobe_resources.market_data.polygon.client.RetryBudget", lambda: RetryBudget(**haste))
    monkeypatch.setattr("kobe_resources.market_data.alpaca.client.RetryBudget", lambda: RetryBudget(**haste))
    for name, value in {"POLYGON__BASE_URL": "9", "ALPACA__BASE_URL": "9", "ALPACA__ASSETS_URL": "9"}.items():
        monkeypatch.setenv(f"KOBE_DATA__{name}", f"http://127.0.0.1:{value}")
    for name, value in VENDORS[vendor].items() if keys else ():
        monkeypatch.setenv(name, value)
    asking = {"report", "bars refresh"}
    assert walk(needs=asking, allowed=asking) == {}


@pytest.mark.parametrize("keys", [True, False], ids=["no network", "no key"])
def test_a_broker_without_network_or_key(place: Path, keys: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "kobe.toml").write_text(SETTINGS + '[broker]\nstage = "paper"\ntimeout_s = 0.5\n', encoding="utf-8")
    for name in ("BASE_URL", "DATA_URL"):
        monkeypatch.setenv(f"KOBE_BROKER__{name}", "http://127.0.0.1:9")
    for name, value in VENDORS["alpaca"].items() if keys else ():
        monkeypatch.setenv(name, value)
    trading = {"trade", "preflight", "reconcile"}
    assert (
        walk(needs=trading, allowed=trading | {"health", "trace", "kill status", "kill on", "kill off", "account reset"}) == {}
    )


@pytest.mark.parametrize(
    "text",
    [
        "import nothing_that_is_there",
        "this is no Python",
        "raise RuntimeError('at import')",
        "from kobe_assets.research.language import Strategy\nX = Strategy(name='x')",
        FAILS_WHEN_ASKED,
    ],
)
def test_a_broken_strategy(place: Path, text: str) -> None:
    (place / "strategies").mkdir()
    (place / "strategies" / "broken.py").write_text(text, encoding="utf-8")
    (place / "kobe.toml").write_text(SETTINGS + '[strategy]\nfolder = "strategies"\n', encoding="utf-8")
    assert walk(needs={"report"} | HEAVY, allowed=READ_STRATEGIES) == {}


def test_a_file_of_keys_that_is_not_there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_ENV_FILE", str(place / "nowhere.env"))
    assert walk(needs={"trade", "bars refresh"} | HEAVY, allowed=set(lines())) == {}
