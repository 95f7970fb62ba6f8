"""A lock is held once, refused at once, free after the block, and its owner's alone."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from filelock import Timeout

from kobe_resources.errors import KobeError
from kobe_resources.runtime.locks import exclusive

BUSY = KobeError("it is taken", "wait for it")


def test_a_lock_that_is_held_is_refused_and_free_again_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with exclusive(path, BUSY):
        with pytest.raises(KobeError, match="it is taken: wait for it"), exclusive(path, BUSY):
            pass
        assert path.stat().st_mode & 0o777 == 0o600
    with exclusive(path, BUSY):
        pass


def test_a_lock_is_waited_for_as_long_as_the_caller_says(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with exclusive(path, BUSY):
        began = time.monotonic()
        with pytest.raises(KobeError, match="it is taken"), exclusive(path, BUSY, wait_s=0.3):
            pass
        assert time.monotonic() - began >= 0.3


def test_what_is_raised_inside_is_not_taken_for_a_lock_that_is_held(tmp_path: Path) -> None:
    with pytest.raises(Timeout), exclusive(tmp_path / "a.lock", BUSY):
        raise Timeout("another lock")
    with exclusive(tmp_path / "a.lock", BUSY):
        pass
