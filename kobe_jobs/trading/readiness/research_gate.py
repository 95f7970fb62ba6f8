"""The research-to-live gate: no order on paper or live without evidence of these very settings and bars."""

from __future__ import annotations

from kobe_assets.graph.lineage import code_versions, recorded_versions, stored_version
from kobe_assets.research.strategies import BUILT_IN
from kobe_resources.errors import KobeError
from kobe_resources.settings.models import Settings
from kobe_resources.settings.pins import research_pin
from kobe_resources.warehouse.store import Warehouse

GATED_STAGES = ("paper", "live")
CHECKED = ("daily_bars", "universe", "indicators", "signals", "wf_folds")


class EvidenceMissing(KobeError):
    """The strategy may not trade: its walk-forward evidence is absent, stale or did not pass its checks."""


def missing_evidence(warehouse: Warehouse, settings: Settings, strategy: str) -> str:
    """Why the evidence does not carry `strategy`; empty where it does."""
    with warehouse.connect() as connection:
        known = recorded_versions(connection)
        stored = stored_version(connection, "daily_bars")
        rows = connection.execute("SELECT count(*) FROM wf_folds WHERE strategy = ?", [strategy]).fetchall()
    folds = known.get("wf_folds")
    if folds is None or not rows[0][0]:
        chosen = settings.walk_forward.strategies
        left_out = ": [walk_forward] strategies leaves it out" if chosen is not None and strategy not in chosen else ""
        return f"there are no walk-forward folds of {strategy!r}{left_out}"
    if folds.config_pin != research_pin(settings):
        return "the folds were built with other settings"
    if strategy not in BUILT_IN and folds.code_version != code_versions(settings)["wf_folds"]:
        return f"the folds were built from another source of {strategy!r}"
    if folds.inputs.get("daily_bars") != stored:
        return "the folds were built from other bars"
    signals = known.get("signals")
    if signals is None or folds.inputs.get("signals") != signals.data_version:
        return "the folds were built from other signals"
    # Not yet checked is not passed.
    unproven = [asset for asset in CHECKED if asset not in known or known[asset].checks_passed is not True]
    return f"{unproven[0]} has not passed its checks" if unproven else ""


def check_evidence(warehouse: Warehouse, settings: Settings, strategy: str, stage: str) -> None:
    """Raise EvidenceMissing where `stage` asks for evidence and there is none."""
    if stage not in GATED_STAGES:
        return
    problem = missing_evidence(warehouse, settings, strategy)
    if problem:
        raise EvidenceMissing(f"{strategy} may not trade on {stage}: {problem}", "run `kobe report`")
