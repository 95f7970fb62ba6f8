"""Compiled once, kept on disk: `njit` with numba's cache in a folder of its own, and without where no folder can be trusted.

numba notices a change in the function's own file only. A kernel holds code of other files too, so the folder carries a
hash of all compiled sources: a changed gate can never run on as an old kernel.
numba unpickles what it finds there, and runs it. So the folder is never in the data folder, which a backup brings back, and
only its owner may write to it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from llvmlite import ir
from numba.core import config, types
from numba.core.cgutils import pointer_add
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

F = TypeVar("F", bound=Callable[..., Any])

PROJECT = Path(__file__).resolve().parents[2]


def njit(function: F) -> F:
    """Compile `function` in nopython mode, releasing the GIL; IEEE arithmetic, because results are pinned to the bit."""
    return cast(F, numba.njit(cache=_is_kept(), nogil=True, error_model="numpy")(function))


def njit_lean(function: F) -> F:
    """Compile `function`, which makes no array, without counting references to those that it is given.

    numba counts, with locked instructions, whenever one function hands arrays to another; threads that share the arrays wait
    for each other's counts.
    """
    options: dict[str, Any] = {"_nrt": False}
    return cast(F, numba.njit(cache=_is_kept(), nogil=True, error_model="numpy", **options)(function))


def njit_part(function: F) -> F:
    """Compile `function` as lean into the kernels that call it; Python cannot call it.

    A call would copy what describes each array, seven numbers, to the stack, for dozens of arrays a session.
    """
    # numba's type hints do not know these options of its own.
    options: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": False, "forceinline": True}
    return cast(F, numba.njit(cache=_is_kept(), nogil=True, error_model="numpy", **options)(function))


def _prefetch(_typing: Any, table: Any, _row: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        array = make_array(signature.args[0])(context, builder, given[0])
        offset = builder.mul(given[1], builder.extract_value(array.strides, 0))
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        # A read, of data, to be kept in every cache.
        builder.call(fetch, [pointer_add(builder, array.data, offset, byte), flag(0), flag(3), flag(1)])
        return context.get_dummy_value()

    return types.void(table, types.int64), generate


prefetch = cast(Callable[[Any, int], None], intrinsic(_prefetch))
"""For kernels only: ask the processor for the first cache line of `table[row]`, which a later loop will read.

Nothing waits for it and no result depends on it, so `row` may lie outside the table.
"""


def _is_kept() -> bool:
    """Point numba to the cache folder; false where there is none."""
    folder = cache_folder()
    if folder is not None:
        vars(config)["CACHE_DIR"] = str(folder)
    return folder is not None


@cache
def cache_folder() -> Path | None:
    """The first of the places that can be written, and that only we can write; None where there is none.

    Looked for when the first kernel is declared, so that importing this module touches no file.
    """
    compiled = ("runtime/jit.py", "policy_gate.py")
    sources = [
        *(PROJECT / "kobe_resources" / name for name in compiled),
        *sorted((PROJECT / "kobe_assets" / "research").glob("*.py")),
    ]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    for base in _cache_bases():
        folder = base / f"compiled-{digest}"
        try:
            if _is_ours_alone(base) and _is_ours_alone(folder):
                with tempfile.TemporaryFile(dir=folder):
                    return folder
        except (OSError, RuntimeError):
            continue
    return None


def _cache_bases() -> Iterator[Path]:
    """Where compiled code may lie: as NUMBA_CACHE_DIR says, else the user's cache, else beside the installed packages."""
    named, caches = os.environ.get("NUMBA_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME", "")
    places: list[Callable[[], Path]] = [
        lambda: Path(caches if os.path.isabs(caches) else Path.home() / ".cache") / "kobe",
        lambda: Path(sys.prefix) / "cache" / "kobe",
    ]
    if named:
        places = [lambda: Path(named).absolute()]
    data = [PROJECT / "warehouse" / "data"]
    with contextlib.suppress(OSError, RuntimeError):
        data.append(Path(os.environ.get("KOBE_HOME") or data[0]).expanduser().resolve())
    for place in places:
        # Neither a user without a home nor a folder that loops is a reason not to go on.
        with contextlib.suppress(OSError, RuntimeError):
            base = place().resolve()
            if not any(base == home or home in base.parents for home in data):
                yield base


def _is_ours_alone(folder: Path) -> bool:
    """Make the folder where it is missing; true where it is ours and only we can write to it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return False
    folder.chmod(0o700)
    return True
