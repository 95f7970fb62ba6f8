"""What belongs to the whole process and must be the same after a person's own code has run in it."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator

import numpy as np


@contextlib.contextmanager
def kept_process_state() -> Iterator[None]:
    """Undo at the block's end what it changed: the working directory, numpy's error state, warnings that it made errors.

    Paths that the command line named would lead elsewhere, and a warning of any library would end the command. What the
    block silences stays silent.
    """
    folder, before = _folder(), list(warnings.filters)
    try:
        with np.errstate():
            yield
    finally:
        if folder is not None and _folder() != folder:
            os.chdir(folder)
        if any(one[0] == "error" and one not in before for one in warnings.filters):
            warnings.filters = [one for one in warnings.filters if one[0] != "error" or one in before]


def _folder() -> str | None:
    """The working directory; None where it was removed."""
    try:
        return os.getcwd()
    except OSError:
        return None
