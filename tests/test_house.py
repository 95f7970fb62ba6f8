"""Every room in its place: no ring of imports, no public class name twice, and nothing flat in a root that has a room."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("kobe_resources", "kobe_assets", "kobe_jobs")
FLAT = {
    "kobe_assets": {"daily_bars.py", "universe.py", "indicators.py", "signals.py", "wf_folds.py", "kpi_report.py", "api.py"},
    "kobe_resources": {"resources.py", "calendar.py", "policy_gate.py", "kill_switch.py", "errors.py", "findings.py"}
    | {"alerts.py"},
    "kobe_jobs": {"definitions.py", "research_job.py", "trading_job.py", "retries.py"},
}
"""What may lie flat in the three roots, beside `__init__.py` and the mark of a typed package."""
ROOMS = {
    "kobe_assets": {"graph", "selection", "checks", "research", "report"},
    "kobe_resources": {"settings", "warehouse", "market_data", "broker", "order_ledger", "runtime"},
    "kobe_jobs": {"research_run", "trading", "ops", "cli"},
}
OF_A_PACKAGE = {"__init__.py", "py.typed"}


@cache
def modules() -> dict[str, Path]:
    """Dotted name → file, a package under its own name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


LATER = {"kobe_jobs.cli.reference.pages"}
"""Modules whose functions import what imports them: the pages of the reference are made from the program that prints them."""


def imports_in(tree: ast.Module, in_functions: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports of a module, at import or in its functions too; not those for the type checker."""
    waiting: list[ast.AST] = [*tree.body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif in_functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def imported_modules(name: str, in_functions: bool = True) -> set[str]:
    """The project's modules that `name` imports."""
    found = set()
    for node in imports_in(ast.parse(modules()[name].read_text(encoding="utf-8")), in_functions):
        if isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} & modules().keys()
            if any(f"{node.module}.{alias.name}" not in modules() for alias in node.names):
                found.add(str(node.module))
        else:
            found |= {alias.name for alias in node.names}
    # A package is always imported before what lies in it; its `__init__` may therefore name its own modules.
    return {other for other in found & modules().keys() if not name.startswith(other + ".")} - {name}


def ring_in(graph: dict[str, set[str]]) -> list[str]:
    """One ring of imports, its first module again at its end; empty where there is none."""
    done: set[str] = set()

    def follow(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for other in sorted(graph.get(name, ())):
            if ring := follow(other, [*way, name]):
                return ring
        done.add(name)
        return []

    for name in sorted(graph):
        if ring := follow(name, []):
            return ring
    return []


def test_a_ring_is_found() -> None:
    assert ring_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert ring_in({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_import_leads_back_to_its_module() -> None:
    graph = {name: imported_modules(name) for name in modules() if name not in LATER}
    assert sum(map(len, graph.values())) > 300, "the test sees the imports there are"
    assert ring_in(graph) == []


def test_the_report_s_analysis_knows_nothing_of_its_page() -> None:
    known = {name: imported_modules(name) for name in modules() if name.startswith("kobe_assets.report.analysis")}
    assert [
        name for name, others in known.items() if any(other.startswith("kobe_assets.report.page") for other in others)
    ] == []


def test_rooms_do_not_import_each_other_in_a_ring() -> None:
    """The rooms of one root as a whole, at import; modules flat in the root count as rooms."""

    def room(name: str) -> str:
        return ".".join(name.split(".")[:2])

    graph: dict[str, set[str]] = defaultdict(set)
    for name in modules():
        graph[room(name)] |= {room(other) for other in imported_modules(name, in_functions=False)} - {room(name), *PACKAGES}
    assert ring_in({name: others for name, others in graph.items() if name not in PACKAGES}) == []


def test_no_public_class_name_is_there_twice() -> None:
    places = defaultdict(list)
    for name, path in modules().items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(name)
    assert len(places) > 150, "the test sees the classes there are"
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_root_holds_what_is_listed_and_nothing_else(package: str) -> None:
    held = [path for path in (ROOT / package).iterdir() if path.name != "__pycache__"]
    assert {path.name for path in held if path.is_file()} - OF_A_PACKAGE <= FLAT[package]
    assert {path.name for path in held if path.is_dir()} == ROOMS[package]


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for path in modules().values()} | {
        path.parent for path in (ROOT / "tests").rglob("*.py") if "benchmarks" not in path.parts
    }
    assert [str(folder.relative_to(ROOT)) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_tests_mirror_the_packages() -> None:
    """A folder of tests has the name of a room, so that the test of a module is found where the module is."""
    astray = []
    for side, package in (("assets", "kobe_assets"), ("resources", "kobe_resources"), ("jobs", "kobe_jobs")):
        for path in sorted((ROOT / "tests" / side).rglob("test_*.py")):
            folder = path.parent.relative_to(ROOT / "tests" / side)
            if not (ROOT / package / folder).is_dir():
                astray.append(str(path.relative_to(ROOT)))
    flat = {path.name for path in (ROOT / "tests").glob("test_*.py")}
    assert astray == []
    assert flat <= {
        "test_architecture.py",
        "test_house.py",
        "test_dependencies.py",
        "test_browser_support.py",
        "test_loopback.py",
        "test_examples.py",
        "test_documents.py",
    }


def test_support_holds_no_tests_and_imports_none() -> None:
    support = ROOT / "tests" / "support"
    assert sorted(path.name for path in support.rglob("test_*.py")) == []
    borrowed = [
        f"{path.relative_to(ROOT)}: {node.module}"
        for path in support.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.rpartition(".")[2].startswith("test_")
    ]
    assert borrowed == []
