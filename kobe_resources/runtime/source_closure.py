"""Which files a module stands on: itself, what it imports of Kobe, and the SQL, templates and schema that those read.

Read from the text and not from what is loaded, so that an import inside a function counts and nothing is imported for it.
Imports are found by line, which ruff's layout allows and a test holds against the syntax tree: parsing them all would take
as long as a report with nothing to do.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("kobe_resources", "kobe_assets", "kobe_jobs")
READ_BESIDE = {".sql", ".j2", ".css", ".js"}
"""Files that the modules of a folder read."""
READ_ELSEWHERE = {"kobe_resources.warehouse.migrations": "warehouse/schema"}
"""Module → the folder it reads that is not its own: views and tables are code."""

_NAME = rf"(?:{'|'.join(PACKAGES)})(?:\.\w+)*"
_IMPORT = re.compile(rf"^[ \t]*(?:from ({_NAME}) import (\([^)]*\)|[^\n]*)|import ({_NAME}))", re.MULTILINE)
_FOR_THE_TYPE_CHECKER = re.compile(r"^( *)if TYPE_CHECKING:\n(?:\1 +.*\n|\n)+", re.MULTILINE)
_COMMENT = re.compile(r"#.*")


def closure_hash(*modules: str, without: tuple[str, ...] = ()) -> str:
    """SHA-256 (hex) of every file that `modules` (dotted names) stand on. without: modules and packages not followed."""
    digest = hashlib.sha256()
    for path in closure(modules, without):
        digest.update(_digest_of(path))
    return digest.hexdigest()


@cache
def closure(modules: tuple[str, ...], without: tuple[str, ...] = ()) -> tuple[Path, ...]:
    """The files that `modules` stand on, sorted. Raises FileNotFoundError for a module that is not there."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or any(name == shut or name.startswith(shut + ".") for shut in without):
            continue
        found.add(name)
        waiting += imports_of(name)
        # A package runs before what lies in it.
        waiting += [name.rpartition(".")[0]] if "." in name else []
    return tuple(sorted({file for name in found for file in (_file_of(name), *_read_by(name))}))


@cache
def imports_of(module: str) -> frozenset[str]:
    """The modules of Kobe that `module` imports, anywhere but for the type checker."""
    text = _FOR_THE_TYPE_CHECKER.sub("", _file_of(module).read_text(encoding="utf-8"))
    return frozenset(name for found in _IMPORT.finditer(text) for name in _named(*found.groups()))


def _named(package: str | None, names: str | None, plain: str | None) -> Iterator[str]:
    if plain:
        yield plain
    if package and names:
        for part in _COMMENT.sub("", names).strip("() \n").split(","):
            if not part.split():
                # After the last comma.
                continue
            name = f"{package}.{part.split()[0]}"
            yield name if _exists(name) else package


@cache
def _exists(module: str) -> bool:
    place = ROOT / module.replace(".", "/")
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


def _file_of(module: str) -> Path:
    place = ROOT / module.replace(".", "/")
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def _read_by(module: str) -> Iterator[Path]:
    """What is no module: beside it, or in a folder below that holds no module of its own."""
    if module in READ_ELSEWHERE:
        yield from (ROOT / READ_ELSEWHERE[module]).glob("*.sql")
    if _file_of(module).name != "__init__.py":
        yield from _data_in(_file_of(module).parent)


@cache
def _data_in(folder: Path) -> tuple[Path, ...]:
    below = [path for path in folder.iterdir() if path.is_dir() and {p.name for p in path.glob("*.py")} <= {"__init__.py"}]
    return tuple(
        path for place in (folder, *below) for path in sorted(place.iterdir()) if path.suffix in READ_BESIDE and path.is_file()
    )


@cache
def _digest_of(path: Path) -> bytes:
    return hashlib.sha256(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes()).digest()
