"""Faults of what a person declares or writes: each is one line with the file, the line and the mend."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any

PACKAGE = str(Path(__file__).resolve().parents[1])
"""Frames in here are ours, and not where a person's fault lies."""
INNER_NAME = re.compile(r"\bkobe_own_[0-9a-f]{12}\.")
"""What stands before the name of an own file's module, for this process only."""
INNER_PACKAGE = re.compile(r"'kobe_own_[0-9a-f]{12}'")
"""The package that `from . import` looks for, and that there is not."""
HOUSE = tuple(str(Path(PACKAGE).parent / name) + os.sep for name in ("kobe_assets", "kobe_resources", "kobe_jobs"))
STOPPED_STEP = "DagsterExecutionInterruptedError"
"""What Dagster makes of Ctrl-C while it computes an asset; arithmetic imports no Dagster."""
DECLARING = str(Path(__file__).resolve().parent / "strategies" / "base.py")


class StrategyBroken(ImportError):
    """The file of a strategy cannot be imported, or declares what cannot be; `str(error)` is one line: where, and why."""


class StrategyFault(Exception):
    """A condition, a score or an indicator of a strategy raised, or gave what it may not; `str(error)` is one line."""


class TakesTooLong(BaseException):
    """Raised in a person's own code that does not come back. No Exception: a loop that goes on after any error goes on."""

    def __str__(self) -> str:
        return "it takes too long to be read; compute beforehand what takes long, and load it"


class BadDeclaration(ValueError):
    """What a declaration says cannot be; the message names the mend. place: file and line, where it is known."""

    def __init__(self, words: str, place: str = "") -> None:
        super().__init__(words)
        self.place = place


def declared_at() -> str:
    """File and line of the declaration that is being made: the first frame that is not the declared class's own."""
    frame: Any = sys._getframe(1)
    while frame is not None and _is_generated(frame.f_code.co_filename):
        frame = frame.f_back
    return "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def place_of(error: BaseException, otherwise: str = "") -> str:
    """File and line of an error: where it does not parse, else the innermost line that is a person's own."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    if isinstance(error, BadDeclaration) and error.place:
        return error.place
    found: TracebackType | None = error.__traceback__
    own = ours = ""
    while found is not None:
        file, line = found.tb_frame.f_code.co_filename, found.tb_lineno
        if _is_library(file):
            pass
        elif file.startswith(HOUSE):
            ours = f"{file}:{line}"
        else:
            own = f"{file}:{line}"
        found = found.tb_next
    return own or otherwise or ours


def line_of(function: Any, otherwise: str = "") -> str:
    """File and line where a function, or what an object does when it is called, is written.

    otherwise: where it was named; given where a library wrote it, and its name without.
    """
    for one in (function, getattr(function, "func", None), getattr(type(function), "__call__", None)):  # noqa: B004 - its code
        code = getattr(one, "__code__", None)
        if isinstance(code, CodeType) and not _is_installed(code.co_filename):
            return f"{code.co_filename}:{code.co_firstlineno}"
    return otherwise or repr(function)


def one_line(error: BaseException) -> str:
    """The error's class and words without line breaks."""
    try:
        words = " ".join(INNER_NAME.sub("", str(error)).split())
    except Exception:  # noqa: BLE001 - an exception of a person's own may raise anything when asked for its words
        words = ""
    if isinstance(error, BadDeclaration | TakesTooLong):
        return words
    if isinstance(error, ImportError) and INNER_PACKAGE.search(words):
        words = "the folder is no package; a file beside is no `.other`, import it by its plain name"
    if isinstance(error, ValueError) and ("read-only" in words or "WRITEABLE" in words):
        words += ", change a copy: values.copy()"
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def is_a_fault(error: BaseException) -> bool:
    """Whether an error is what a person's own code did wrong: all but Ctrl-C. `exit()` and what some libraries raise to leave
    a test or a loop are no Exceptions."""
    return not isinstance(error, KeyboardInterrupt) and type(error).__name__ != STOPPED_STEP


def _is_generated(file: str) -> bool:
    return file.startswith("<") or Path(file).name == "dataclasses.py" or file in (__file__, DECLARING)


def _is_library(file: str) -> bool:
    return file.startswith("<") or _is_installed(file)


def _is_installed(file: str) -> bool:
    return "site-packages" in file or file.startswith(sys.base_prefix + "/lib")
