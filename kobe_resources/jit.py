"""Compiled once, kept on disk: `njit` with numba's cache in a folder of its own, and without where no folder can be written.

numba notices a change in the function's own file only. A kernel holds code of other files too, so the folder carries a
hash of all compiled sources: a changed gate can never run on as an old kernel.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import config

F = TypeVar("F", bound=Callable[..., Any])

PROJECT = Path(__file__).resolve().parent.parent


def njit(function: F) -> F:
    """Compile `function` in nopython mode, releasing the GIL; IEEE arithmetic, because results are pinned to the bit."""
    return cast(F, numba.njit(cache=CACHE is not None, nogil=True, error_model="numpy")(function))


def njit_part(function: F) -> F:
    """Compile `function` as a part of the kernels that call it: Python cannot, which saves the compile time of a way in."""
    # numba's type hints do not know these options of its own.
    options: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return cast(F, numba.njit(cache=CACHE is not None, nogil=True, error_model="numpy", **options)(function))


def _cache_folder() -> Path | None:
    sources = [PROJECT / "kobe_resources" / "policy_gate.py", *sorted((PROJECT / "kobe_assets" / "research").glob("*.py"))]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    named = os.environ.get("NUMBA_CACHE_DIR")
    bases = [Path(named)] if named else [PROJECT / "warehouse" / "data" / "compiled", Path.home() / ".cache" / "kobe"]
    for base in bases:
        folder = base / f"numba-{digest}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    return None


CACHE = _cache_folder()
if CACHE is not None:
    vars(config)["CACHE_DIR"] = str(CACHE)
