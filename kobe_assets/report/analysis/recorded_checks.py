"""What a run recorded of its data: the outcomes of the data checks, and other lists of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kobe_assets.report.analysis.inputs import DATA, ReportInputs
from kobe_assets.report.analysis.metrics_glossary import show


@dataclass(frozen=True)
class CheckOutcome:
    """One data check's outcome; state is pass, warn (failed but not blocking) or fail."""

    name: str
    state: str
    severity: str
    count: str
    description: str


def checks(inputs: ReportInputs) -> list[CheckOutcome]:
    """The recorded outcomes of the data checks, failures first."""
    found = []
    for item in recorded(inputs, "checks"):
        severity = str(item.get("severity") or "")
        state = "pass" if item.get("passed") else ("warn" if severity.upper().startswith("WARN") else "fail")
        count = item.get("count")
        counted = show(float(count), "count") if isinstance(count, int | float) and count else ""
        found.append(
            CheckOutcome(str(item.get("name", "")), state, severity.lower(), counted, str(item.get("description") or ""))
        )
    return sorted(found, key=lambda check: (("fail", "warn", "pass").index(check.state), check.name))


def recorded(inputs: ReportInputs, name: str) -> list[dict[str, Any]]:
    """A list of rows in the evidence about the data; empty where the run recorded none."""
    found = inputs.evidence.get(DATA, {}).get(name)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
