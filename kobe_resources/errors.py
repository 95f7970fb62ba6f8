"""The one family of errors that reaches a person: what is wrong, and what mends it, in one line."""


class KobeError(Exception):
    """Something Kobe refuses or cannot do; `str(error)` is one line for a terminal.

    `mend` names what the person can do next; it never holds a secret.
    """

    exit_code = 1

    def __init__(self, what: str, mend: str = "") -> None:
        super().__init__(what, mend)
        self.what = what
        self.mend = mend

    def __str__(self) -> str:
        line = f"{self.what}: {self.mend}" if self.mend else self.what
        return " ".join(line.split())


class UsageError(KobeError):
    """A command or its settings make no sense as given; the exit code is 2."""

    exit_code = 2
