"""A word on a function of a person's own that does not come back, which on a screen looks like long work."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

LOOK_EVERY_S = 20.0


@contextlib.contextmanager
def reported_long_calls(tell: Callable[[str], None], every_s: float = LOOK_EVERY_S) -> Iterator[None]:
    """Tell once of each function of an own file that two looks, so many seconds apart, find in the same call."""
    over = threading.Event()

    def watch() -> None:
        before: list[FrameType] = []
        reported = set()
        while not over.wait(every_s):
            now = _calls()
            for frame in now:
                code = frame.f_code
                # A frame that is held is no other's: of one that is not, the next call may get the place in memory.
                if any(frame is one for one in before) and code not in reported:
                    reported.add(code)
                    where = f"{code.co_filename}:{frame.f_lineno}"
                    tell(f"{code.co_name} at {where} has not come back for over {every_s:g} seconds: Ctrl-C ends the command")
            before = now

    threading.Thread(target=watch, daemon=True, name="long calls").start()
    try:
        yield
    finally:
        over.set()


def _calls() -> list[FrameType]:
    """The outermost frame of an own file in each thread that runs one."""
    # Only a command that reads strategies has them: no other one imports what finds them.
    own = sys.modules.get("kobe_assets.graph.own_code")
    found = [own.own_frame(frame) for frame in sys._current_frames().values()] if own else []
    return [frame for frame in found if frame is not None]
