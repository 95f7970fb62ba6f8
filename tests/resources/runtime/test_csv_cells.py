"""No cell of a CSV that Kobe writes is a formula, and every number is still one."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from kobe_resources.runtime.csv_cells import safe_cell, safe_cells


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\uff1d1", "-", "=", "--1"]
)
def test_what_a_spreadsheet_would_run_is_quoted(text: str) -> None:
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["AAPL", "BRK.B", "a=b", "-1.5", "+2", "-1e-5", "-.5", "", -1.5, None, 7])
def test_the_rest_stays(value: object) -> None:
    assert safe_cell(value) == value


def test_a_frame_keeps_its_numbers_days_and_gaps() -> None:
    frame = pd.DataFrame(
        {
            "symbol": ["=HYPERLINK(1)", "AAPL", None],
            "kind": pd.Categorical(["-x", "ok", "ok"]),
            "typed": pd.array(["@x", "y", None], dtype="string"),
            "pnl": [-1.5, 2.0, np.nan],
            "count": [-1, 2, 3],
            "session": pd.to_datetime(["2024-01-02"] * 3),
            "=bad": [True, False, True],
        }
    )
    text = safe_cells(frame).to_csv(index=False, date_format="%Y-%m-%d")
    back = pd.read_csv(io.StringIO(text))
    assert list(back["symbol"][:2]) == ["'=HYPERLINK(1)", "AAPL"]
    assert list(back["kind"]) == ["'-x", "ok", "ok"]
    assert back["typed"][0] == "'@x"
    assert back["pnl"].tolist()[:2] == [-1.5, 2.0]
    assert back["count"].tolist() == [-1, 2, 3]
    assert list(back.columns)[-1] == "'=bad"
    assert text.splitlines()[1].split(",")[5] == "2024-01-02"
    assert list(frame.columns)[-1] == "=bad", "the frame that was given is untouched"
