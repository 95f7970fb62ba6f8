"""The files a module stands on: the same imports as the syntax tree says, and what is read beside them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from kobe_resources.runtime.source_closure import PACKAGES, ROOT, closure, imports_of

MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
)


def is_module(name: str) -> bool:
    return name in MODULES


def imported(tree: ast.AST) -> set[str]:
    """What the tree imports of Kobe, in functions too, but not for the type checker."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for other in node.orelse:
                found |= imported(other)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in names if is_module(name)}
            found |= {node.module} if any(not is_module(name) for name in names) else set()
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] in PACKAGES}
        else:
            found |= imported(node)
    return found


def file_of(module: str) -> Path:
    place = ROOT / module.replace(".", "/")
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def test_lines_say_what_the_syntax_tree_says() -> None:
    found = {module: imported(ast.parse(file_of(module).read_text(encoding="utf-8"))) for module in MODULES}
    assert sum(map(len, found.values())) > 600
    assert {name: set(imports_of(name)) - found[name] for name in MODULES if set(imports_of(name)) - found[name]} == {}
    assert {name: found[name] - imports_of(name) for name in MODULES if found[name] - imports_of(name)} == {}


def test_no_module_is_imported_by_a_text_that_nothing_could_follow() -> None:
    assets = [name for name in MODULES if name.startswith("kobe_assets.") and name.count(".") == 1]
    for path in closure((*assets, "kobe_jobs.trading.session")):
        if path.suffix == ".py":
            text = path.read_text(encoding="utf-8")
            assert "import_module(" not in text, path
            assert "__import__(" not in text, path


@pytest.mark.parametrize(
    ("module", "file"),
    [
        ("kobe_assets.universe", "kobe_assets/selection/membership.sql"),
        ("kobe_assets.signals", "warehouse/schema/001_tables.sql"),
        ("kobe_assets.signals", "kobe_assets/__init__.py"),
        ("kobe_assets.signals", "kobe_assets/research/strategies/ibs.py"),
        ("kobe_assets.kpi_report", "kobe_assets/report/page/templates/verdict.html.j2"),
        ("kobe_assets.kpi_report", "kobe_assets/report/page/static/page.css"),
        ("kobe_jobs.trading.session", "kobe_jobs/trading/snapshot_bars.sql"),
    ],
)
def test_what_is_read_beside_the_modules_counts(module: str, file: str) -> None:
    assert ROOT / file in closure((module,))


def test_a_package_that_is_left_out_is_not_followed() -> None:
    whole, part = closure(("kobe_assets.signals",)), closure(("kobe_assets.signals",), ("kobe_assets.research",))
    assert ROOT / "kobe_assets/research/panel.py" in whole
    assert not [path for path in part if "research" in path.parts]
