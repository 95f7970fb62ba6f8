"""What a person reads of an asset in the UI: figures to four digits, and the first rows as a table."""

from __future__ import annotations

import pandas as pd
import pytest

from kobe_assets.graph.publish import four_digits, preview


@pytest.mark.parametrize(
    ("value", "expected"),
    [(123456.789, 123456.79), (-1234.567, -1234.57), (99.98765, 99.99), (1.23456, 1.235), (0.000123456, 0.0001235), (0.0, 0.0)],
)
def test_a_figure_has_four_digits_and_never_less_than_cents(value: float, expected: float) -> None:
    assert four_digits(value) == expected


def test_a_preview_shows_the_first_rows_with_plain_values() -> None:
    frame = pd.DataFrame(
        {
            "session": pd.to_datetime(["2024-03-05", "2024-03-06", "2024-03-07"]),
            "close": [1.23456, float("nan"), 3.0],
            "selected": [True, False, True],
            "why": ["x" * 300, None, ""],
        }
    )
    rows = [row.data for row in preview(frame, rows=2).records]  # type: ignore[attr-defined]
    assert rows == [
        {"session": "2024-03-05", "close": 1.235, "selected": True, "why": "x" * 200},
        {"session": "2024-03-06", "close": "", "selected": False, "why": ""},
    ]
    assert preview(frame.head(0)).text == "no rows"  # type: ignore[attr-defined]
