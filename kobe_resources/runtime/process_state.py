"""What belongs to the whole process and must be the same after a person's own code has run in it."""

from __future__ import annotations

import contextlib
import decimal
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator

import numpy as np


@contextlib.contextmanager
def kept_process_state() -> Iterator[None]:
    """Undo at the block's end what it changed: the working directory, numpy's error state, warnings that it made errors, the
    standard streams, how precisely decimals count, and that nothing is logged.

    Paths that the command line named would lead elsewhere, a warning of any library would end the command, its answer go
    nowhere, and the price of an order be rounded. Warnings that the block silences stay silent.
    """
    folder, before, silenced = _folder(), list(warnings.filters), logging.root.manager.disable
    streams = sys.stdout, sys.stderr
    try:
        with np.errstate(), decimal.localcontext():
            yield
    finally:
        if threading.current_thread() is threading.main_thread():
            # Another thread may have begun while this one had redirected them for a while.
            sys.stdout, sys.stderr = streams
        if logging.root.manager.disable != silenced:
            logging.disable(silenced)
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
