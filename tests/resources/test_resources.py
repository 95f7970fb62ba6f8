"""The Dagster doors: each gives what the settings name, opens nothing before it is asked, and is subclassed by nothing."""

from __future__ import annotations

import ast
from pathlib import Path

import dagster as dg
import pytest

from kobe_assets.daily_bars import daily_bars
from kobe_assets.universe import universe
from kobe_resources import resources
from kobe_resources.errors import UsageError
from kobe_resources.resources import BrokerResource, LedgerResource, VendorResource, WarehouseResource, resources_of
from kobe_resources.settings.load import load_settings
from kobe_resources.settings.models import Settings
from kobe_resources.settings.pins import config_pin
from kobe_resources.warehouse.store import Warehouse

ROOT = Path(__file__).resolve().parents[2]


def test_each_gives_what_the_settings_name_and_opens_nothing_by_itself(home: Path) -> None:
    settings = load_settings()
    seen = {}

    @dg.op
    def look(
        settings: dg.ResourceParam[Settings],
        store: WarehouseResource,
        vendor: VendorResource,
        broker: BrokerResource,
        ledger: LedgerResource,
    ) -> None:
        seen["nothing yet"] = not home.exists() or not list(home.glob("*"))
        seen["settings"] = settings
        seen["vendor"] = vendor.open().name
        with ledger.open("run") as book:
            seen["ledger"] = (book.pin, book.run_id)
        seen["warehouse"] = store.open().path

    @dg.job(resource_defs=resources_of(settings))
    def job() -> None:
        look()

    assert job.execute_in_process().success
    assert seen["nothing yet"]
    assert seen["settings"] is settings
    assert seen["vendor"] == "sample"
    assert seen["ledger"] == (config_pin(settings), "run")
    assert seen["warehouse"] == home / "kobe.duckdb"


def test_a_broker_that_cannot_be_opened_says_so_in_a_typed_error(home: Path) -> None:
    paper = Settings(broker={"stage": "paper"})

    @dg.op
    def ask(broker: BrokerResource) -> None:
        with broker.open():
            pass

    @dg.job(resource_defs=resources_of(paper))
    def job() -> None:
        ask()

    with pytest.raises(UsageError, match="no keys"):
        job.execute_in_process()


def test_the_body_of_an_asset_can_be_called_with_resources_of_a_test(tmp_path: Path) -> None:
    store = WarehouseResource(path=str(tmp_path / "own.duckdb"))
    given = {**resources_of(Settings()), "store": store}
    with dg.build_asset_context(resources=given) as context:
        made = daily_bars(context)
    assert made.metadata["dagster/row_count"] > 0
    with dg.build_asset_context(resources=given) as context:
        universe(context)
    assert Warehouse(tmp_path / "own.duckdb").rows("SELECT count(*) FROM universe")[0][0] > 0


def test_nothing_else_in_the_house_subclasses_a_resource() -> None:
    found = [
        (path.name, node.name)
        for package in ("kobe_assets", "kobe_resources", "kobe_jobs")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and any("ConfigurableResource" in ast.unparse(base) for base in node.bases)
    ]
    names = ("SettingsResource", "WarehouseResource", "VendorResource", "BrokerResource", "LedgerResource")
    assert sorted(found) == sorted(("resources.py", name) for name in names)
    assert all(issubclass(getattr(resources, name), dg.ConfigurableResource) for name in names)
