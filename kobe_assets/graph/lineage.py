"""Code versions: a hash of the import closure and the settings of an asset, so that a change of either makes it stale.

The UI ("Materialize unsynced") and `kobe report` compare the same versions.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kobe_resources.runtime.source_closure import closure_hash
from kobe_resources.settings.models import BOOK
from kobe_resources.settings.pins import canonical_json, research_pin, with_order
from kobe_resources.warehouse.store import content_version

if TYPE_CHECKING:
    import duckdb

    from kobe_resources.settings.models import Settings

DEPENDS: dict[str, tuple[str, ...]] = {
    "daily_bars": (),
    "universe": ("daily_bars",),
    "indicators": ("daily_bars", "universe"),
    "signals": ("daily_bars", "universe", "indicators"),
    "wf_folds": ("daily_bars", "universe", "indicators", "signals"),
    "kpi_report": ("daily_bars", "universe", "signals", "wf_folds"),
}
"""The research graph, sources first: the `deps` of the assets, for staleness, which is told without importing Dagster."""

TABLES: dict[str, tuple[str, ...]] = {
    "daily_bars": ("daily_bars", "splits", "dividends", "candidates", "option_evidence"),
    "universe": ("universe", "universe_membership", "panel_symbols"),
    "indicators": ("indicators",),
    "signals": ("signals",),
    "wf_folds": ("wf_folds", "wf_trades", "wf_equity"),
    "kpi_report": ("kpis", "kpi_reasons"),
}
"""The tables whose rows are an asset's data version."""

NOT_FOLLOWED = (
    # For notebooks; the package names it, and no asset stands on it.
    "kobe_assets.api",
    # What these open is told apart by itself: rows by their data version, a source by its fingerprint.
    "kobe_resources.resources",
    # Settings count by their values.
    "kobe_resources.settings",
    # These describe rows, store them as they are, and say so.
    "kobe_assets.graph.lineage",
    "kobe_assets.graph.publish",
    "kobe_assets.graph.table_schemas",
    "kobe_resources.runtime.event_log",
)
"""Imports that change no row of an asset."""
STORE = ("kobe_resources.market_data", "kobe_resources.warehouse")
"""For daily_bars: how a source is read is in its fingerprint or nowhere, since what is stored is the truth."""


def code_versions(settings: Settings, source_fingerprint: str = "") -> dict[str, str]:
    """asset → version. source_fingerprint: the vendor's word for the state of its source, part of daily_bars."""
    dump = with_order(settings.model_dump(mode="json"))
    strategy, universe = dump["strategy"], dump["universe"]
    # Where its files lie changes nothing; what they say does.
    strategy.pop("folder")
    declared, sources, read = _strategy_versions(settings)
    membership = {name: universe.pop(name) for name in ("membership", "release")}
    trading = {
        "simulation": dump["simulation"],
        "policy": dump["policy"],
        "walk_forward": dump["walk_forward"],
        **{name: dump[name] for name in ("sizing", "execution", "costs")},
        "portfolio": dump["portfolio"] if settings.portfolio.book == BOOK else None,
    }
    stands_on: dict[str, object] = {
        "daily_bars": source_fingerprint,
        # The benchmark, and whose bars the strategies read beside theirs, are among the symbols that are held in memory.
        "universe": [universe, membership, settings.report.benchmark, read],
        "indicators": declared,
        "signals": [strategy, membership, sources],
        # A released symbol may change no canonical signal, and still the best in training.
        "wf_folds": [strategy, membership, trading, sources],
        # The page names the pin and opens on the strategy that trades.
        "kpi_report": [research_pin(settings), settings.portfolio.book, dump["report"], sources],
    }
    return {
        asset: hashlib.sha256((_source_hash(asset) + canonical_json(stands_on[asset])).encode()).hexdigest()[:12]
        for asset in DEPENDS
    }


def _strategy_versions(settings: Settings) -> tuple[object, object, list[str]]:
    """What indicators are declared, the sources of own strategies, as hashes, and the symbols that they read by `of()`.

    Kobe's own strategies lie in the import closure.
    """
    if settings.strategy.folder is None:
        return "", "", []
    from kobe_assets.graph.own_strategies import indicator_versions, source_hashes, strategies_of
    from kobe_assets.research.strategies.register import symbols_read

    return indicator_versions(settings), source_hashes(settings), sorted(symbols_read(strategies_of(settings).values()))


def _source_hash(asset: str) -> str:
    return closure_hash(f"kobe_assets.{asset}", without=NOT_FOLLOWED + (STORE if asset == "daily_bars" else ()))


@dataclass(frozen=True)
class Version:
    """What the warehouse says of an asset: the version of its rows, what it was made by and from, and its checks."""

    data_version: str
    code_version: str
    inputs: dict[str, str]
    checks_passed: bool | None
    config_pin: str
    run_id: str


def recorded_versions(connection: duckdb.DuckDBPyConnection) -> dict[str, Version]:
    """asset → what its tables hold now."""
    rows = connection.execute(
        "SELECT asset, data_version, code_version, inputs, checks_passed, config_pin, run_id FROM asset_versions"
    ).fetchall()
    return {
        asset: Version(data, code, json.loads(inputs), checks, pin, run) for asset, data, code, inputs, checks, pin, run in rows
    }


def stored_version(connection: duckdb.DuckDBPyConnection, asset: str) -> str:
    """The version of the rows that the asset's tables hold now."""
    return content_version(connection, *TABLES[asset])


def record_version(
    connection: duckdb.DuckDBPyConnection, asset: str, data: str, code: str, pin: str, run_id: str, inputs: Mapping[str, str]
) -> None:
    """Record the version of the asset's tables, in the transaction that writes them; its checks are open until `record_checks`.

    inputs: the data versions of what it was computed from, as they were when that was read.
    """
    connection.execute("DELETE FROM asset_versions WHERE asset = ?", [asset])
    connection.execute(
        "INSERT INTO asset_versions VALUES (?, ?, ?, ?, ?, ?, NULL, ?)",
        [asset, data, code, canonical_json(dict(inputs)), pin, run_id, dt.datetime.now(dt.UTC)],
    )


def record_checks(connection: duckdb.DuckDBPyConnection, asset: str, passed: bool) -> None:
    """Say whether the asset's blocking checks hold."""
    connection.execute("UPDATE asset_versions SET checks_passed = ? WHERE asset = ?", [passed, asset])


def stale_assets(
    connection: duckdb.DuckDBPyConnection,
    versions: Mapping[str, str],
    missing: Collection[str] = (),
    just_made: Collection[str] = (),
) -> list[str]:
    """The assets that can be computed now because they are stale and everything above them is fresh or computed with them.

    Stale is what was never made, was made by other code or settings or from other inputs, has not passed its checks, or
    whose stored rows are no longer those of its version. missing: assets to compute whatever their versions say.
    just_made: assets whose rows this process has written a moment ago, and need not hash again.
    Empty: everything is up to date.
    """
    known = recorded_versions(connection)
    chosen: list[str] = []
    clean: dict[str, bool] = {}
    for asset, above in DEPENDS.items():
        found = known.get(asset)
        stale = (
            found is None
            or asset in missing
            or found.code_version != versions[asset]
            or found.checks_passed is not True
            or any(found.inputs.get(name) != known[name].data_version for name in above if name in known)
            or (asset not in just_made and found.data_version != stored_version(connection, asset))
        )
        clean[asset] = not stale and all(clean[name] for name in above)
        if stale and all(clean[name] or name in chosen for name in above):
            chosen.append(asset)
    return chosen
