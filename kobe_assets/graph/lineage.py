"""Code versions: a hash of the sources and settings that an asset stands on, so that a change of either makes it stale.

The UI ("Materialize unsynced") and `kobe report` compare the same versions.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kobe_resources.settings.models import BOOK, canonical_json, research_pin
from kobe_resources.warehouse.store import content_version

if TYPE_CHECKING:
    import duckdb

    from kobe_resources.settings.models import Settings

DEPENDS: dict[str, tuple[str, ...]] = {
    "daily_bars": (),
    "universe": ("daily_bars",),
    "indicators": ("daily_bars",),
    "signals": ("daily_bars", "universe", "indicators"),
    "wf_folds": ("daily_bars", "universe", "indicators", "signals"),
    "kpi_report": ("daily_bars", "universe", "signals", "wf_folds"),
}
"""The research graph, sources first."""

TABLES: dict[str, tuple[str, ...]] = {
    "daily_bars": ("daily_bars", "splits", "candidates", "option_evidence"),
    "universe": ("universe", "universe_membership"),
    "indicators": ("indicators",),
    "signals": ("signals",),
    "wf_folds": ("wf_folds", "wf_trades", "wf_equity"),
    "kpi_report": ("kpis", "kpi_reasons"),
}
"""The tables whose rows are an asset's data version."""

ROOT = Path(__file__).resolve().parents[2]
RESEARCH = "kobe_assets/research"

PANEL = (
    "kobe_assets/graph/inputs.py",
    "kobe_assets/graph/frames.py",
    "kobe_assets/graph/panel_bars.sql",
    "kobe_assets/graph/panel_dividends.sql",
    f"{RESEARCH}/panel.py",
)
MARKET = (
    *PANEL,
    "kobe_assets/graph/panel_indicators.sql",
    *(f"{RESEARCH}/{name}" for name in ("quarantine.py", "signals.py", "strategies")),
)

SOURCES: dict[str, tuple[str, ...]] = {
    "daily_bars": ("kobe_assets/daily_bars.py",),
    "universe": (
        "kobe_assets/universe.py",
        *(
            f"kobe_assets/selection/{name}.{kind}"
            for name in ("eligibility", "membership", "bar_table")
            for kind in ("py", "sql")
        ),
        f"{RESEARCH}/quarantine.py",
        *PANEL,
    ),
    "indicators": ("kobe_assets/indicators.py", f"{RESEARCH}/indicators.py", *PANEL),
    "signals": ("kobe_assets/signals.py", f"{RESEARCH}/walk_forward.py", *MARKET),
    "wf_folds": (
        "kobe_assets/wf_folds.py",
        f"{RESEARCH}/costs.py",
        "kobe_assets/graph/fees.py",
        "kobe_assets/graph/fees.csv",
        f"{RESEARCH}/entry_queue.py",
        f"{RESEARCH}/simulation.py",
        f"{RESEARCH}/walk_forward.py",
        f"{RESEARCH}/metrics.py",
        "kobe_resources/policy_gate.py",
        *MARKET,
    ),
    "kpi_report": (
        "kobe_assets/kpi_report.py",
        "kobe_assets/report/analysis/stored_curves.py",
        "kobe_assets/report/analysis/fold_exposure.sql",
        "kobe_assets/report/analysis/trial_sharpes.sql",
        "kobe_assets/report",
        RESEARCH,
        "kobe_resources/policy_gate.py",
        *MARKET,
    ),
}
"""What each asset's rows are made by; how a source is read is in its fingerprint or nowhere, since the store is the truth."""


def code_versions(settings: Settings, source_fingerprint: str = "") -> dict[str, str]:
    """asset → version. source_fingerprint: the vendor's word for the state of its source, part of daily_bars."""
    dump = settings.model_dump(mode="json")
    strategy, universe = dump["strategy"], dump["universe"]
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
        "universe": [universe, membership],
        "indicators": "",
        "signals": [strategy, membership],
        # A released symbol may change no canonical signal, and still the best in training.
        "wf_folds": [strategy, membership, trading],
        # The page names the pin and opens on the strategy that trades.
        "kpi_report": [research_pin(settings), settings.portfolio.book],
    }
    return {
        asset: hashlib.sha256((_source_hash(asset) + canonical_json(stands_on[asset])).encode()).hexdigest()[:12]
        for asset in SOURCES
    }


def _source_hash(asset: str) -> str:
    digest = hashlib.sha256()
    for name in SOURCES[asset]:
        place = ROOT / name
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file() and path.suffix in {".py", ".sql", ".j2", ".css", ".js", ".csv"}:
                digest.update(path.read_bytes())
    return digest.hexdigest()


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


def record_version(connection: duckdb.DuckDBPyConnection, asset: str, data: str, code: str, pin: str, run_id: str) -> None:
    """Say, in the transaction that writes the asset's tables, what they hold; its checks are open until `record_checks`."""
    known = recorded_versions(connection)
    inputs = {name: known[name].data_version for name in DEPENDS.get(asset, ()) if name in known}
    connection.execute("DELETE FROM asset_versions WHERE asset = ?", [asset])
    connection.execute(
        "INSERT INTO asset_versions VALUES (?, ?, ?, ?, ?, ?, NULL, ?)",
        [asset, data, code, canonical_json(inputs), pin, run_id, dt.datetime.now(dt.UTC)],
    )


def record_checks(connection: duckdb.DuckDBPyConnection, asset: str, passed: bool) -> None:
    """Say whether the asset's blocking checks hold."""
    connection.execute("UPDATE asset_versions SET checks_passed = ? WHERE asset = ?", [passed, asset])


def stale_assets(
    connection: duckdb.DuckDBPyConnection, versions: Mapping[str, str], missing: Collection[str] = ()
) -> list[str]:
    """The assets that can be computed now because they are stale and everything above them is fresh or computed with them.

    Stale is what was never made, was made by other code or settings or from other inputs, has not passed its checks, or
    whose stored rows are no longer those of its version. missing: assets to compute whatever their versions say.
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
            or found.data_version != stored_version(connection, asset)
        )
        clean[asset] = not stale and all(clean[name] for name in above)
        if stale and all(clean[name] or name in chosen for name in above):
            chosen.append(asset)
    return chosen
