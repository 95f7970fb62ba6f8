"""A person's own code leaves the process as it found it."""

from __future__ import annotations

import contextlib
import decimal
import io
import logging
import os
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from kobe_resources.runtime.process_state import kept_process_state


def test_the_folder_and_numpys_errors_are_as_before_after_an_error_too(tmp_path: Path) -> None:
    folder, errors = os.getcwd(), np.geterr()
    with contextlib.suppress(ZeroDivisionError), kept_process_state():
        os.chdir(tmp_path)
        np.seterr(all="raise")
        raise ZeroDivisionError
    assert (os.getcwd(), np.geterr()) == (folder, errors)


def test_a_warning_is_no_error_afterwards_and_what_was_silenced_stays_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.filterwarnings("error", "known before")
        with kept_process_state():
            warnings.filterwarnings("ignore", "silenced")
            warnings.simplefilter("error", DeprecationWarning)
        with warnings.catch_warnings(record=True) as seen:
            warnings.warn("of a library", DeprecationWarning, stacklevel=1)
            warnings.warn("silenced", UserWarning, stacklevel=1)
        assert [str(one.message) for one in seen] == ["of a library"]
        with pytest.raises(UserWarning, match="known before"):
            warnings.warn("known before", UserWarning, stacklevel=1)


def test_decimals_streams_and_logging_are_as_before() -> None:
    before = sys.stdout, sys.stderr, decimal.getcontext().prec, logging.root.manager.disable
    with kept_process_state():
        sys.stdout = sys.stderr = io.StringIO()
        decimal.getcontext().prec = 3
        logging.disable()
    assert (sys.stdout, sys.stderr, decimal.getcontext().prec, logging.root.manager.disable) == before


def test_a_folder_that_was_removed_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    shutil.rmtree(gone)
    with kept_process_state():
        pass
