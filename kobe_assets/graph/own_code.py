"""The code of own files as it runs in this process: which frame is theirs, and what they cannot do to a command."""

from __future__ import annotations

import builtins
import contextlib
import os
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

OWN = "kobe_own_"
"""How the name of an own file's module begins."""

_end_process = os._exit
_process = os.getpid()


def own_frame(frame: FrameType | None) -> FrameType | None:
    """The outermost frame of a stack that runs an own file; None where none does."""
    found = None
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith(OWN):
            found = frame
        frame = frame.f_back
    return found


def print_to_stderr(*what: Any, file: Any = None, **options: Any) -> None:
    """`print` of an own file, on standard error: what a command answers on standard output may be read by a program."""
    builtins.print(*what, file=sys.stderr if file is None or file is sys.stdout else file, **options)


@contextlib.contextmanager
def own_output_on_stderr() -> Iterator[None]:
    """Send to standard error what an own file writes to standard output within the block, itself or through a library, in
    whatever thread."""
    with contextlib.redirect_stdout(_WithoutOwn(sys.stdout)):
        yield


class _WithoutOwn:
    """A stream that is standard error where an own file asks, and else the one it is given."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream if own_frame(sys._getframe(1)) is None else sys.stderr, name)


def refuse_exit() -> None:
    """Make `os._exit` raise SystemExit in an own file, as `sys.exit` does.

    It would end the command half way with an exit code of the file's choice, 0 say, which means done.
    """
    setattr(os, "_exit", _exit_unless_own)  # noqa: B010 - mypy knows that a function is no variable


def _exit_unless_own(code: int) -> NoReturn:
    # A child that an own file forked is no command.
    if os.getpid() == _process and own_frame(sys._getframe(1)) is not None:
        raise SystemExit(code)
    _end_process(code)
