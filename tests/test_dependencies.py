"""Every dependency is pinned, and an audit that could not be done never looks like a clean one."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import re
import sys
import tomllib
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kobe_resources.settings.load import PROJECT_ROOT


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit_of_pins", PROJECT_ROOT / ".ci" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pins(name: str) -> dict[str, str]:
    lines = (PROJECT_ROOT / name).read_text(encoding="utf-8").split()
    found = [re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.+!]+)", line) for line in lines]
    assert all(found), "every line is name==version"
    names = [canonicalize_name(match[1]) for match in found if match]
    assert len(names) == len(set(names)), "no package is pinned twice"
    return {canonicalize_name(match[1]): match[2] for match in found if match}


def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def declared() -> list[Requirement]:
    table = project()
    return [Requirement(line) for line in [*table["dependencies"], *table["optional-dependencies"]["test"]]]


def imported() -> set[str]:
    """The first names of every import of Kobe's packages."""
    found = set()
    for package in ("kobe_assets", "kobe_resources", "kobe_jobs"):
        for path in (PROJECT_ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    found |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    found.add(node.module.split(".")[0])
    return {name for name in found - sys.stdlib_module_names if not name.startswith("kobe")}


def test_what_is_imported_is_declared() -> None:
    owners = importlib.metadata.packages_distributions()
    table = project()
    known = {
        canonicalize_name(Requirement(line).name) for line in [*table["dependencies"], *table["optional-dependencies"]["scale"]]
    }
    names = imported()
    assert len(names) > 20
    assert sorted(name for name in names if not {canonicalize_name(one) for one in owners[name]} & known) == []


def test_each_dependency_is_there_for_a_reason() -> None:
    page = (PROJECT_ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    named = {canonicalize_name(word) for row in rows for word in re.findall(r"[A-Za-z][\w-]*", row.split("|")[1])}
    table = project()
    wanted = [*table["dependencies"], *(line for some in table["optional-dependencies"].values() for line in some)]
    assert [line for line in wanted if canonicalize_name(line) not in named] == []


def test_what_make_report_and_make_test_install_is_pinned() -> None:
    known = pins("constraints.txt")
    assert not [one.name for one in declared() if canonicalize_name(one.name) not in known]
    assert "pip-audit" in pins(".ci/audit.txt")


def test_what_our_dependencies_need_is_pinned_too() -> None:
    known = pins("constraints.txt")
    todo = [canonicalize_name(one.name) for one in declared()]
    missing, seen = set(), set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for need in map(Requirement, needs):
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                todo.append(canonicalize_name(need.name))
        if name not in known:
            missing.add(name)
    assert not missing


def answered(name: str, *flaws: str) -> dict[str, Any]:
    return {"name": name, "version": "1.0", "vulns": [{"id": flaw, "fix_versions": ["1.1"]} for flaw in flaws]}


def test_a_known_vulnerability_fails(audit: ModuleType) -> None:
    code, lines = audit.judge([answered("fine"), answered("bad", "PYSEC-1")])
    assert code == 1
    assert "bad 1.0: PYSEC-1, mended in 1.1" in lines


def test_a_clean_answer_passes_and_names_what_was_not_asked(audit: ModuleType) -> None:
    code, lines = audit.judge([answered("fine"), {"name": "unknown", "skip_reason": "not on the index"}])
    assert code == 0
    assert lines[-1].endswith("not asked about: unknown")


def test_an_audit_of_nothing_says_so(audit: ModuleType) -> None:
    code, lines = audit.judge([{"name": name, "skip_reason": "not found"} for name in "abc"])
    assert code == 0
    assert "NOT DONE" in lines[0]
