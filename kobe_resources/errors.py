"""The one family of errors that reaches a person: what is wrong, and what mends it, in one line."""

import json
import re
from collections.abc import Iterable

NESTED_MESSAGE = re.compile(r'"exception_message":("(?:[^"\\]|\\.)*")')
"""Where DuckDB keeps the message of an error that happened in one of its threads."""


class KobeError(Exception):
    """Something Kobe refuses or cannot do; `str(error)` is one line for a terminal.

    `hint` names what the person can do next; it never holds a secret.
    """

    exit_code = 1

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what, hint)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        line = f"{self.what}: {self.hint}" if self.hint else self.what
        return " ".join(line.split())


class UsageError(KobeError):
    """A command or its settings make no sense as given; the exit code is 2."""

    exit_code = 2


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The known name that `name` looks like, as the end of a sentence; empty where none does."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def reason_of(error: BaseException) -> str:
    """What an error says, in one line; of one that DuckDB met in a thread of its own, the message inside its JSON."""
    nested = NESTED_MESSAGE.search(str(error))
    text = str(json.loads(nested[1])) if nested else str(error) or repr(error)
    return text.splitlines()[0]


def with_earlier(error: BaseException, what: str) -> str:
    """`what`, preceded by the KobeError during whose handling `error` was raised, so that a failing disk does not hide it."""
    earlier = error.__context__
    while earlier is not None and not isinstance(earlier, KobeError):
        earlier = earlier.__context__
    return what if earlier is None or earlier.what in what else f"{earlier.what}; then {what}"


def is_interrupt(error: BaseException) -> bool:
    """Whether `error` is a Ctrl-C: Python's own, or the RuntimeError that DuckDB raises when one comes during a query."""
    return isinstance(error, KeyboardInterrupt) or (type(error) is RuntimeError and str(error) == "Query interrupted")
