"""A function of a person's own that does not come back is named; one that is called again and again is not."""

from __future__ import annotations

import threading
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

from kobe_assets.graph.own_strategies import own_files, own_strategies
from kobe_assets.research.declared import ListingBars
from kobe_jobs.cli import long_calls
from kobe_jobs.cli.long_calls import reported_long_calls
from kobe_resources.settings.models import Settings
from tests.support.builders.own_strategies import CUSTOM, GOOD, write_strategies
from tests.support.waiting import until

WAITS = GOOD.replace("return bars.high", "len(bars) > 1 or bars.session[0].wait(20)\n    return bars.high")
"""Of a single bar it waits for what stands in the place of its session."""


def test_a_call_is_named_once_with_its_line_and_short_ones_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_strategies(tmp_path, {"idea.py": WAITS})
    (own,) = own_strategies(own_files(Settings.model_validate({"strategy": {"folder": folder}})))
    spread = own.strategy.indicators["spread"].function
    assert spread is not None
    lines: list[str] = []
    back, look = threading.Event(), long_calls._calls
    begun, looks = [0], [0]

    class Short:
        """Waits for one look, so that each look finds a call, and none the one that the look before it found."""

        def wait(self, _limit_s: float) -> None:
            begun[0] += 1
            until(lambda: looks[0] >= begun[0] or back.is_set())

    def look_into_the_next_call() -> list[FrameType]:
        until(lambda: begun[0] > looks[0] or back.is_set())
        found = look()
        looks[0] += 1
        return found

    def looked(times: int) -> None:
        wanted = looks[0] + times
        until(lambda: looks[0] >= wanted)

    def bars(event: object) -> ListingBars:
        one = np.ones(1)
        return ListingBars(one, one, one, one, one, [event])

    def short_calls() -> None:
        while not back.is_set():
            spread(bars(Short()))

    monkeypatch.setattr(long_calls, "_calls", look_into_the_next_call)
    busy = threading.Thread(target=short_calls, daemon=True)
    stuck = threading.Thread(target=spread, args=(bars(back),), daemon=True)
    with reported_long_calls(lines.append, every_s=0.05):
        busy.start()
        looked(3)
        assert lines == []
        stuck.start()
        until(lambda: lines)
        looked(3)
    back.set()
    stuck.join()
    busy.join()
    (line,) = lines
    assert line == f"spread at {folder / 'idea.py'}:{CUSTOM} has not come back for over 0.05 seconds: Ctrl-C ends the command"
