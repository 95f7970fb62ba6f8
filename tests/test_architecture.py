"""The house stays as it was drawn: imports point one way, and the arithmetic touches nothing outside."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("kobe_resources", "kobe_assets", "kobe_jobs")
RESEARCH_MAY_USE = {
    "numpy",
    "numba",
    "talib",
    "kobe_assets.research",
    "kobe_resources.policy_gate",
    "kobe_resources.runtime.jit",
}
STANDARD = {"__future__", "collections", "concurrent", "dataclasses", "functools", "itertools", "math", "os", "statistics"}
STANDARD |= {"threading", "typing", "difflib", "pathlib", "re", "sys", "types"}


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path} imports relatively"
            found.add(node.module)
    return found


@pytest.mark.parametrize(
    ("lower", "above"), [("kobe_resources", ("kobe_assets", "kobe_jobs")), ("kobe_assets", ("kobe_jobs",))]
)
def test_imports_point_one_way(lower: str, above: tuple[str, ...]) -> None:
    upward = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / lower).rglob("*.py")
        for name in imports_of(path)
        if name.split(".")[0] in above
    ]
    assert upward == []


def test_research_is_pure() -> None:
    foreign = [
        f"{path.name} imports {name}"
        for path in (ROOT / "kobe_assets" / "research").rglob("*.py")
        for name in imports_of(path)
        if name.split(".")[0] not in STANDARD and not any(name == ok or name.startswith(ok + ".") for ok in RESEARCH_MAY_USE)
    ]
    assert foreign == []


def test_every_module_says_in_its_first_line_what_it_holds() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_the_rules_that_texts_point_to_are_there() -> None:
    rules = (ROOT / "kobe_assets" / "research" / "rules.md").read_text(encoding="utf-8")
    chapters = re.split(r"^## (\d+)\. ", rules, flags=re.MULTILINE)
    known = set(chapters[1::2])
    for chapter, text in zip(chapters[1::2], chapters[2::2], strict=True):
        known |= {f"{chapter}.{step}" for step in re.findall(r"^(\d+)\. ", text, flags=re.MULTILINE)}
    texts = [
        *(ROOT / name for name in ("README.md", "OPERATING.md", "CONTRIBUTING.md")),
        *(path for name in PACKAGES for path in (ROOT / name).rglob("*") if path.suffix in {".py", ".sql"}),
    ]
    named = [
        (path.name, number)
        for path in texts
        for found in re.finditer(r"rules(?:\.md)?,? sections? ([\d.]+\d|\d)(?: and (\d))?", path.read_text(encoding="utf-8"))
        for number in found.groups()
        if number
    ]
    assert len(named) > 30
    assert [(name, number) for name, number in named if number not in known] == []


def test_one_code_location_and_one_definitions_object() -> None:
    assert "kobe_jobs.definitions" in (ROOT / "workspace.yaml").read_text(encoding="utf-8")
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert "[tool.dagster]" not in text
    assert "[tool.dg]" not in text


def test_constraints_pin_every_dependency_and_name_no_index() -> None:
    import tomllib

    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "://" not in text
    pinned = {line.split("==")[0].lower().replace("-", "_") for line in text.splitlines() if "==" in line}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    assert {name.lower().replace("-", "_") for name in wanted} - pinned == set()
