"""Everything binds to loopback: no source names another address to listen on, and what takes an address defaults to it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

from kobe_jobs.cli.commands.ops import health
from kobe_resources.runtime.report_site import listen_on
from kobe_resources.settings.load import PROJECT_ROOT

EVERYWHERE = "0.0.0.0"
LISTENERS = {"bind", "create_server", "HTTPServer", "ThreadingHTTPServer", "TCPServer", "ThreadingTCPServer", "__init__"}
"""`__init__`: of a server class, called by its subclass with the address."""
LOCAL = {"127.0.0.1", "localhost", "::1"}
KNOWN_VARIABLES = {"LOOPBACK", "host"}
"""`host` is the parameter of listen_on, whose default is tested below."""


def sources() -> Iterator[Path]:
    for package in ("kobe_assets", "kobe_resources", "kobe_jobs"):
        yield from (PROJECT_ROOT / package).rglob("*.py")


def addresses(tree: ast.AST) -> Iterator[ast.expr]:
    """The first element of each address tuple that something listens on."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in LISTENERS:
            yield from (value.elts[0] for value in node.args if isinstance(value, ast.Tuple) and value.elts)


def is_local(address: ast.expr) -> bool:
    if isinstance(address, ast.Constant):
        return address.value in LOCAL
    return isinstance(address, ast.Name) and address.id in KNOWN_VARIABLES


def test_no_source_listens_on_another_address() -> None:
    found = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sources()}
    listening = [(path, address) for path, tree in found.items() for address in addresses(tree)]
    assert listening, "the test sees the servers there are"
    assert not [(path, ast.unparse(address)) for path, address in listening if not is_local(address)]


def test_no_source_names_every_interface() -> None:
    named = [
        (path, node.lineno)
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value == EVERYWHERE
    ]
    assert not named


def test_what_takes_an_address_defaults_to_loopback() -> None:
    assert inspect.signature(listen_on).parameters["host"].default == "127.0.0.1"
    assert inspect.signature(health).parameters["host"].default == "127.0.0.1"
