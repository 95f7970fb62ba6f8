"""A function of a person's own that does not come back is named; one that is called again and again is not."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np

from kobe_assets.graph.own_strategies import own_files, own_strategies
from kobe_assets.research.declared import ListingBars
from kobe_jobs.cli.long_calls import long_calls_told
from kobe_resources.settings.models import Settings
from tests.support.builders.own_strategies import CUSTOM, GOOD, write_strategies

WAITS = GOOD.replace("return bars.high", "len(bars) > 1 or bars.session[0].wait(20)\n    return bars.high")
"""Of a single bar it waits for what stands in the place of its session."""


def test_a_call_is_named_once_with_its_line_and_short_ones_are_not(tmp_path: Path) -> None:
    folder = write_strategies(tmp_path, {"idea.py": WAITS})
    (own,) = own_strategies(own_files(Settings.model_validate({"strategy": {"folder": folder}})))
    spread = own.strategy.indicators["spread"].function
    assert spread is not None
    told: list[str] = []
    back = threading.Event()

    def bars(event: threading.Event) -> ListingBars:
        one = np.ones(1)
        return ListingBars(one, one, one, one, one, [event])

    def short_calls() -> None:
        already = threading.Event()
        already.set()
        while not back.is_set():
            spread(bars(already))

    busy, stuck = threading.Thread(target=short_calls), threading.Thread(target=spread, args=(bars(back),))
    with long_calls_told(told.append, every_s=0.25):
        busy.start()
        time.sleep(0.6)
        assert told == []
        stuck.start()
        time.sleep(0.8)
    back.set()
    stuck.join()
    busy.join()
    (line,) = told
    assert line == f"spread at {folder / 'idea.py'}:{CUSTOM} has not come back for over 0.25 seconds: Ctrl-C ends the command"
