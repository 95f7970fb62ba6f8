"""`kobe` in this process, from the command line to the exit code: a fraction of what a process of its own costs."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest import mock

import typer
from typer.testing import CliRunner, Result

from kobe_jobs.cli import main as cli


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line on standard error."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


BUILD = typer.main.get_command


@cache
def built(app: typer.Typer) -> Any:
    """The commands as typer makes them anew, for a tenth of a second, each time that `app` is called."""
    return BUILD(app)


class _Left(BaseException):
    """The process would have ended here."""


def kobe(*arguments: str) -> Ended:
    """Run a command as the console script does; an error that it does not know is raised, as its traceback would be seen."""
    codes: list[int] = []

    def leave(code: int) -> None:
        codes.append(code)
        raise _Left

    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(cli, "_leave", leave),
        mock.patch("typer.main.get_command", built),
        mock.patch.object(sys, "argv", ["kobe", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        contextlib.suppress(_Left),
    ):
        cli.main()
    return Ended(codes[0], out.getvalue(), err.getvalue())


def invoked(*arguments: str) -> Result:
    """Run a command as typer's own tests do: what it raised stands in the result."""
    with mock.patch("typer.testing._get_command", built):
        return CliRunner().invoke(cli.app, list(arguments))
