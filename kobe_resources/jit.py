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
from llvmlite import ir
from numba.core import config, types
from numba.core.cgutils import pointer_add
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

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


def _prefetch(_typing: Any, table: Any, row: Any) -> Any:
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


def _cache_folder() -> Path | None:
    compiled = ("jit.py", "policy_gate.py")
    sources = [
        *(PROJECT / "kobe_resources" / name for name in compiled),
        *sorted((PROJECT / "kobe_assets" / "research").glob("*.py")),
    ]
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
