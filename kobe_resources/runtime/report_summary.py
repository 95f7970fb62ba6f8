"""The file of the latest report, and the few facts that a page tells of itself at its beginning, read without the page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

LATEST = "kpi_report.html"
"""The file of the latest report in the folder of reports."""
SUMMARY = re.compile(rb'<script type="application/json" id="summary">(.*?)</script>', re.DOTALL)
LONGEST = 1 << 20
"""Bytes of a page that may hold its summary."""


def read_summary(page: Path) -> dict[str, Any] | None:
    """The summary of the page in the file; None for a page without one, an older one say, or none that can be read."""
    try:
        return summary_in(page)
    except (OSError, ValueError):
        return None


def summary_in(page: Path) -> dict[str, Any] | None:
    """The summary of the page in the file; None for a page without one. Raises OSError, ValueError where it cannot be read."""
    with page.open("rb") as file:
        found = SUMMARY.search(file.read(LONGEST))
    if found is None:
        return None
    parsed = json.loads(found[1])
    if not isinstance(parsed, dict):
        raise ValueError(f"the summary of {page} is no object")
    return parsed
