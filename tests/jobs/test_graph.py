"""The code location as Dagster sees it, and the real webserver over a computed home."""

from __future__ import annotations

import dagster as dg
import pytest

from kobe_assets.graph.lineage import DEPENDS
from kobe_jobs.definitions import build_definitions
from kobe_resources.settings.load import load_settings

RESEARCH = {
    "daily_bars": set(),
    "universe": {"daily_bars"},
    "indicators": {"daily_bars", "universe"},
    "signals": {"daily_bars", "universe", "indicators"},
    "wf_folds": {"daily_bars", "universe", "indicators", "signals"},
    "kpi_report": {"daily_bars", "universe", "signals", "wf_folds"},
}
BLOCKING = {
    "daily_bars": {"duplicate_bars", "ohlc_order", "non_positive", "duplicate_splits"},
    "universe": {"any_selected"},
    "indicators": {"one_row_a_bar"},
    "signals": {"no_lookahead"},
    "wf_folds": {"disjoint_windows", "cash_conserved", "fills_follow_signals"},
    "kpi_report": {"figures_complete"},
}


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions(load_settings())


def test_the_code_location_loads_and_runs_in_process(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)
    assert definitions.executor is dg.in_process_executor


def test_the_lineage_is_the_designed_one(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    assert {asset: set(above) for asset, above in DEPENDS.items()} == RESEARCH
    for asset, above in RESEARCH.items():
        assert {key.to_user_string() for key in graph.get(dg.AssetKey(asset)).parent_keys} == above


@pytest.mark.parametrize("asset", RESEARCH)
def test_every_asset_says_what_it_is(definitions: dg.Definitions, asset: str) -> None:
    spec = definitions.resolve_assets_def(asset).get_asset_spec(dg.AssetKey(asset))
    assert spec.group_name in {"market_data", "research", "evidence"}
    assert spec.kinds
    assert spec.owners
    assert spec.description
    assert spec.code_version
    columns = spec.metadata["dagster/column_schema"].columns
    assert columns
    assert all(column.description for column in columns)


def test_checks_that_could_hide_a_wrong_number_block(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    blocking: dict[str, set[str]] = {}
    for key in graph.asset_check_keys:
        if graph.get(key).blocking:
            blocking.setdefault(key.asset_key.to_user_string(), set()).add(key.name)
    assert blocking == BLOCKING


def test_a_launchpad_explains_every_field_it_asks_for(definitions: dg.Definitions) -> None:
    asked = {}
    for name in ("wf_report", "refresh", "trade_session", "reconcile"):
        job = definitions.resolve_job_def(name)
        assert job.description
        for node in job.nodes:
            schema = node.definition.config_schema.config_type
            asked[node.name] = {field: one.description for field, one in getattr(schema, "fields", {}).items()}
        store = job.resource_defs["store"].config_schema.config_type
        asked["store"] = {field: one.description for field, one in store.fields.items()}
    assert set(asked["store"]) == {"path"}
    assert set(asked["trade"]) == {"session", "stage", "confirm"}
    assert all(text for fields in asked.values() for text in fields.values())


def test_settings_are_part_of_the_code_versions_they_change(monkeypatch: pytest.MonkeyPatch) -> None:
    def versions() -> dict[str, str | None]:
        found = build_definitions(load_settings())
        return {name: found.resolve_assets_def(name).get_asset_spec(dg.AssetKey(name)).code_version for name in RESEARCH}

    before = versions()
    monkeypatch.setenv("KOBE_POLICY__MAX_DAILY_NOTIONAL", "500")
    changed = {name for name, version in versions().items() if version != before[name]}
    assert changed == {"wf_folds", "kpi_report"}
