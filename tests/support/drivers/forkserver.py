"""The one server that processes of tests are forked from: it imports once what each of them would import for itself.

multiprocessing has one such server a process, and what it imports is set as a whole: a driver that set its own would take
away another's.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext

_imported: list[str] = []


def forked_after(module: str) -> ForkServerContext:
    """The context whose processes begin with `module` imported, and with those that were named before."""
    context = multiprocessing.get_context("forkserver")
    _imported.append(module)
    context.set_forkserver_preload(_imported)
    return context
