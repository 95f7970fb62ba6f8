"""The heat map of a grid: cells, what was traded of them, the plateau; in words, as a picture and on the page."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ElementTree

import pytest

from kobe_assets.report.analysis.heat_map import Grid, heat_map, make_grid, maps_of, stored_grids
from kobe_assets.report.page.heat_map_picture import heat_map_markdown, heat_map_svg

AXES = {"a": (1.0, 2.0, 3.0), "b": (0.1, 0.2), "c": (5.0, 7.0)}
SETS = [dict(zip((*AXES, "same"), (*values, 9.0), strict=True)) for values in itertools.product(*AXES.values())]
MEAN = [0.3, -0.1, 0.5, None, 0.8, 0.2, 0.6, 0.7, 0.1, 0.4, 0.2, None]
CHOSEN = [(1, SETS[4], 0.5), (2, SETS[5], -0.3), (3, SETS[4], 0.1), (4, SETS[9], None), (5, {**SETS[0], "a": 99.0}, 2.0)]
CANONICAL = SETS[6]


@pytest.fixture(scope="module")
def grid() -> Grid:
    return make_grid("tried", SETS, MEAN, CHOSEN, CANONICAL)


def best_of(**wanted: float) -> float | None:
    """The best mean among the sets with these values."""
    known = [m for s, m in zip(SETS, MEAN, strict=True) if m is not None and all(s[k] == v for k, v in wanted.items())]
    return max(known, default=None)


def test_what_never_varies_is_no_axis(grid: Grid) -> None:
    assert grid.axes == {name: list(values) for name, values in AXES.items()}
    assert grid.pairs() == [("a", "b"), ("a", "c"), ("b", "c")]


def test_a_cell_is_its_best_set(grid: Grid) -> None:
    for found in maps_of(grid):
        for j, down in enumerate(AXES[found.down]):
            for i, across in enumerate(AXES[found.across]):
                assert found.mean[j][i] == best_of(**{found.across: across, found.down: down})


def test_other_parameters_may_be_fixed(grid: Grid) -> None:
    found = heat_map(grid, "a", "b", {"c": 7.0})
    assert found.mean == [[best_of(a=a, b=b, c=7.0) for a in AXES["a"]] for b in AXES["b"]]
    assert found.traded == [[[], [2], [4]], [[], [], []]]
    assert found.canonical is None, "the fixed parameters have another c"


def test_the_folds_that_chose_a_cell_and_what_they_made_unseen(grid: Grid) -> None:
    found = heat_map(grid, "a", "b")
    assert found.traded == [[[], [1, 2, 3], [4]], [[], [], []]]
    assert found.unseen[0][1] == pytest.approx((0.5 - 0.3 + 0.1) / 3)
    assert found.unseen[0][2] is None
    assert found.canonical == (1, 1)


def test_the_plateau_is_the_mean_of_the_cells_around_the_best_over_it(grid: Grid) -> None:
    found = heat_map(grid, "a", "b")
    assert found.best == (0, 1)
    # Around (0, 1): all five other cells of two rows and three columns, of which each has a ratio.
    others = [found.mean[j][i] for j in range(2) for i in range(3) if (j, i) != (0, 1)]
    assert found.plateau == pytest.approx(sum(value or 0.0 for value in others) / 5 / 0.8)
    corner = heat_map(make_grid("t", SETS, [1.0 if k == 0 else 0.5 for k in range(12)], [], {}), "a", "b")
    assert corner.plateau == pytest.approx(0.5), "three neighbours of a corner"
    assert heat_map(make_grid("t", SETS, [-1.0] * 12, [], {}), "a", "b").plateau is None


def test_one_parameter_makes_one_row_and_none_no_map() -> None:
    row = make_grid("t", [{"a": 1.0}, {"a": 2.0}, {"a": 3.0}], [0.1, 0.4, 0.2], [(1, {"a": 2.0}, 1.0)], {"a": 1.0})
    (found,) = maps_of(row)
    assert found.mean == [[0.1, 0.4, 0.2]]
    assert found.plateau == pytest.approx(0.15 / 0.4)
    assert maps_of(make_grid("t", [{"a": 1.0}], [0.1], [], {"a": 1.0})) == []


def test_a_stored_grid_is_the_grid(grid: Grid) -> None:
    (again,) = stored_grids({("tried", ""): {"heat_map": grid.payload()}, ("tried", "canonical"): {}})
    assert again == grid


def test_the_picture_is_sound_xml_with_a_box_a_cell_and_no_markup_of_the_data(grid: Grid) -> None:
    hostile = make_grid("<script>&", [{"a<b": 1.0}, {"a<b": 2.0}], [0.1, -0.2], [], {})
    root = ElementTree.fromstring(heat_map_svg([grid, hostile]))
    boxes = root.findall(".//{http://www.w3.org/2000/svg}rect")
    assert len(boxes) == 1 + (6 + 6 + 4) + 2
    texts = [text.text or "" for text in root.findall(".//{http://www.w3.org/2000/svg}text")]
    assert "<script>&" in texts
    assert "★ 0.80" in texts
    assert heat_map_svg([]) == ""
    assert heat_map_markdown([grid]).startswith("![heat map](data:image/svg+xml;base64,")
