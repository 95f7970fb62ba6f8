"""Suspect bars and their quarantine, as the checks of stored bars find and count them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kobe_assets.checks.bar_frames import quarantine_table
from kobe_assets.graph.bar_table import BarTable
from kobe_assets.graph.inputs import load_panel
from kobe_assets.research.quarantine import QUARANTINE_BARS, quarantined, suspect_bars, suspects
from kobe_resources.errors import UsageError
from kobe_resources.settings.load import load_settings
from kobe_resources.settings.models import Settings, UniverseSettings
from tests.assets.checks.test_bars import DAYS, calm, check, failed, jumped, store, the_table
from tests.support.builders.frames import bar, load, splits
from tests.support.reference import indicators as reference

pytestmark = pytest.mark.usefixtures("warehouses_stay_open")


def test_a_missed_split_is_suspect_and_a_crash_with_a_crowd_is_not(tmp_path: Path) -> None:
    rows = [
        *jumped("SPLIT", 30, 0.5),
        *jumped("CRASH", 30, 0.5, volume=6001.0),
        *jumped("EDGE", 30, 1.45),
        *jumped("OVER", 30, 1.4501),
    ]
    found = check(store(tmp_path, load(rows)))["suspect_jumps"]
    assert dict(zip(found.offenders["symbol"], found.offenders["session"], strict=True)).keys() == {"SPLIT", "OVER"}
    assert found.offenders["move"].iloc[0] == pytest.approx(math.log(0.5))
    assert found.offenders["in_force"].all()


@pytest.mark.parametrize(("volume", "suspect"), [(12_000.0, True), (12_001.0, False), (14_000.0, False)])
def test_the_crowd_is_judged_by_the_twenty_bars_before(tmp_path: Path, volume: float, suspect: bool) -> None:
    # Ten bars of 1,000 and ten of 3,000 shares: one bar more or fewer, and the median is 3,000.
    before = [bar("A", DAYS[n], 10.0, volume=1000.0 if n % 2 == 0 else 3000.0) for n in range(22)]
    warehouse = store(tmp_path, load([*before, bar("A", DAYS[22], 5.0, volume)]))
    assert check(warehouse)["suspect_jumps"].count == suspect


def test_a_recorded_split_with_its_jump_is_neither_suspect_nor_without_jump(tmp_path: Path) -> None:
    content = load(jumped("A", 30, 0.5, volume=2000.0), splits(("A", DAYS[30], 1, 2)))
    assert failed(check(store(tmp_path, content))) == set()


def test_a_released_symbol_is_shown_with_its_reason_and_does_not_count(tmp_path: Path) -> None:
    settings = Settings(universe=UniverseSettings(release={"A": "spin-off of 2020"}))
    warehouse = store(tmp_path, load([*jumped("A", 30, 0.5), *jumped("B", 30, 0.4)]))
    found = check(warehouse, settings)["suspect_jumps"]
    assert found.count == 1
    assert dict(zip(found.offenders["symbol"], found.offenders["released"], strict=True)) == {"A": "spin-off of 2020", "B": ""}
    assert len(quarantine_table(the_table(warehouse), settings.universe.release)) == 2


@pytest.mark.parametrize("reason", ["", " "])
def test_nobody_is_released_without_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reason: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KOBE_UNIVERSE__RELEASE", json.dumps({"BRK.B": reason}))
    with pytest.raises(UsageError, match=r"universe\.release .*BRK\.B is released without a reason"):
        load_settings()


def test_quarantine_ends_two_hundred_bars_after_the_suspect_one(tmp_path: Path) -> None:
    for count, until, in_force in ((231, DAYS[230], True), (232, DAYS[230], False), (230, None, True)):
        folder = tmp_path / str(count)
        found = quarantine_table(the_table(store(folder, load(jumped("A", 30, 0.5, count=count)))), {})
        shown = found["until"].iloc[0]
        assert (None if shown is None or shown != shown else shown.date()) == until
        assert found["in_force"].iloc[0] == in_force


walks = st.lists(
    st.tuples(
        st.sampled_from([0.32, 0.5, 0.68, 0.7, 0.9, 1.0, 1.1, 1.44, 1.46, 2.0, 3.1]),
        st.sampled_from([1.0, 2.0, 2.9, 6.0, 20.0]),
        st.sampled_from([0.5, 0.54, 0.56, 0.9, 1.0]),
        st.sampled_from([1.0, 1.1, 1.79, 1.81, 40.0]),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(walks, min_size=1, max_size=3))
def test_suspects_are_those_of_the_rule_read_literally(series: list) -> None:
    lists: list[list[dict[str, float]]] = []
    for walk in series:
        close, own = 100.0, []
        for number, (ratio, crowd, low, high) in enumerate(walk):
            before, close = close, close * ratio if number else close
            inner, outer = sorted((before, close))
            own.append({"open": before, "high": outer * high, "low": inner * low, "close": close, "volume": crowd})
        lists.append(own)
    sizes, flat = [len(own) for own in lists], [bar for own in lists for bar in own]
    table = BarTable(
        symbols=tuple("ABC"[: len(series)]),
        start=np.concatenate([[0], np.cumsum(sizes)]),
        symbol=np.repeat(np.arange(len(series), dtype=np.int32), sizes),
        session=np.concatenate([np.array(DAYS[:size], dtype="datetime64[D]") for size in sizes]),
        **{name: np.array([bar[name] for bar in flat]) for name in ("open", "high", "low", "close", "volume")},
        factor=np.ones(len(flat)),
    )
    suspicions = [reference.suspicions_of(own) for own in lists]
    is_suspect = [kind != "" for own in suspicions for kind in own]
    assert suspects(table).bar.tolist() == np.flatnonzero(is_suspect).tolist()
    assert suspect_bars(table).tolist() == is_suspect
    assert quarantined(table).tolist() == [held for own in suspicions for held in reference.quarantined(own)]


def test_a_fourfold_misprint_is_suspect_itself_and_on_its_way_back(tmp_path: Path) -> None:
    rows = calm("A", 60)
    rows[30] = bar("A", DAYS[30], 40.0)
    found = check(store(tmp_path, load(rows)))["suspect_jumps"]
    assert sorted(day.date() for day in found.offenders["session"]) == [DAYS[30], DAYS[31]]
    assert f"A on {DAYS[30]}" in found.seen


def test_a_print_far_below_open_and_close_holds_the_symbol_for_sixty_bars(tmp_path: Path) -> None:
    rows = calm("A", 100)
    rows[30] = {**rows[30], "low": 5.4}
    table = the_table(store(tmp_path, load(rows)))
    assert np.flatnonzero(quarantined(table)).tolist() == list(range(30, 91))
    assert quarantine_table(table, {})["kind"].tolist() == ["range"]


def test_the_bars_that_universe_and_check_read_are_suspect_where_those_of_the_panel_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    rows = []
    for symbol in "ABCDEF":
        close = 50.0
        for n in range(300):
            close *= math.exp(rng.choice([0.0, rng.normal(0, 0.02), rng.normal(0, 0.5)], p=[0.2, 0.77, 0.03]))
            if rng.random() > 0.02:
                rows.append(bar(symbol, DAYS[n], round(close, 2) + 0.01, volume=float(rng.integers(1, 4000))))
    warehouse = store(tmp_path, load(rows, splits(("B", DAYS[100], 1, 2), ("C", DAYS[50], 3, 1), ("D", DAYS[299], 2, 3))))
    panel = load_panel(warehouse)
    table = the_table(warehouse)
    found = suspects(table)
    assert len(found.bar) > 10
    assert found.bar.tolist() == suspects(panel).bar.tolist()
    held = quarantined(panel)
    in_force = {table.symbols[place] for place in table.symbol[found.bar[found.in_force]]}
    assert in_force == {panel.symbols[n] for n in range(len(panel.symbols)) if held[panel.start[n + 1] - 1]}
    assert QUARANTINE_BARS == 200
