"""The research-to-live gate: no order on paper or live without evidence of these very settings and bars."""

from __future__ import annotations

from kobe_jobs.trading.evidence import sql
from kobe_resources.errors import KobeError
from kobe_resources.settings import Settings, research_pin
from kobe_resources.warehouse import Warehouse

GATED_STAGES = ("paper", "live")


class EvidenceMissing(KobeError):
    """The strategy may not trade: its walk-forward evidence is absent, stale or did not pass its checks."""


def missing_evidence(warehouse: Warehouse, settings: Settings, strategy: str) -> str:
    """Why the evidence does not carry `strategy`; empty where it does."""
    rows = warehouse.frame(sql("research_gate"), {"strategy": strategy})
    if rows.empty:
        return "there are no walk-forward folds"
    pin, passed, version = (rows.iloc[0][name] for name in ("config_pin", "checks_passed", "data_version"))
    known = warehouse.rows("SELECT count(*) FROM wf_folds WHERE strategy = ?", [strategy])[0][0]
    if not known or not isinstance(version, str):
        return f"there are no walk-forward folds of {strategy!r}"
    if pin != research_pin(settings):
        return "the folds were built with other settings"
    if version != warehouse.content_version("daily_bars", "splits"):
        return "the folds were built from other bars"
    # Not yet checked is not passed; and no numpy or pandas truth of a NULL.
    if str(passed) != "True":
        return "the folds have not passed their checks"
    return ""


def check_evidence(warehouse: Warehouse, settings: Settings, strategy: str, stage: str) -> None:
    """Raise EvidenceMissing where `stage` asks for evidence and there is none."""
    if stage not in GATED_STAGES:
        return
    problem = missing_evidence(warehouse, settings, strategy)
    if problem:
        raise EvidenceMissing(f"{strategy} may not trade on {stage}: {problem}", "run `kobe report`")
