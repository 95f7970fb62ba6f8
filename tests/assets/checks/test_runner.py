"""The check that indicators are those of the bars, against rows that are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from kobe_assets.checks.runner import indicator_checks
from kobe_assets.graph.frames import indicators_frame
from kobe_assets.graph.inputs import load_panel
from kobe_assets.research.indicators import compute_indicators
from kobe_resources.market_data import open_vendor
from kobe_resources.resources import WarehouseResource
from kobe_resources.settings.models import Settings
from kobe_resources.settings.secrets import Secrets
from kobe_resources.warehouse.store import Warehouse

pytestmark = pytest.mark.usefixtures("warehouses_stay_open")

ONE = "symbol = 'IBM' AND session = DATE '2008-03-10'"
FAULTS = {
    "a bar without indicators": (f"DELETE FROM indicators WHERE {ONE}", "IBM"),
    "indicators twice": (f"INSERT INTO indicators SELECT * FROM indicators WHERE {ONE}", "IBM"),
    "indicators of no bar": (f"UPDATE indicators SET session = DATE '2008-03-09' WHERE {ONE}", "IBM"),
    "indicators of a stranger": ("INSERT INTO indicators VALUES ('ZZZ', DATE '2008-03-10', 50, 10, 1, 0.5)", "ZZZ"),
    "an RSI over 100": (f"UPDATE indicators SET rsi2 = 101 WHERE {ONE}", "IBM"),
    "a negative IBS": (f"UPDATE indicators SET ibs = -0.1 WHERE {ONE}", "IBM"),
    "an endless mean": (f"UPDATE indicators SET sma200 = 'inf' WHERE {ONE}", "IBM"),
    "a mean that is no number": (f"UPDATE indicators SET sma200 = 'nan' WHERE {ONE}", "IBM"),
    "a negative range": (f"UPDATE indicators SET atr14 = -1 WHERE {ONE}", "IBM"),
}


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    warehouse = Warehouse(tmp_path / "kobe.duckdb")
    open_vendor(Settings(), Secrets()).sync(warehouse)
    panel = load_panel(warehouse)
    warehouse.replace({"indicators": indicators_frame(panel, compute_indicators(panel))})
    return warehouse


def test_the_indicators_of_the_bars_pass(warehouse: Warehouse) -> None:
    (result,) = indicator_checks(WarehouseResource(path=str(warehouse.path)))
    assert result.passed
    assert warehouse.rows("SELECT name, passed, count FROM check_results") == [("one_row_a_bar", True, 0)]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_row_that_is_not_as_it_should_be_is_found_and_named(warehouse: Warehouse, fault: str) -> None:
    change, symbol = FAULTS[fault]
    with warehouse.transaction() as connection:
        connection.execute(change)
    (result,) = indicator_checks(WarehouseResource(path=str(warehouse.path)))
    assert not result.passed
    assert symbol in str(result.metadata["worst offenders"])
