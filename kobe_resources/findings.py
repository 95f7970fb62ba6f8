"""`Finding`: what one check found, the same row for preflight, health and the checks of stored data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: whether it holds, what was seen, and what to do where it does not.

    blocks: False for a warning. metrics: figures of the check, for a monitor. seconds: how long the check took, where that is
    measured.
    """

    name: str
    ok: bool
    seen: str
    hint: str = ""
    blocks: bool = True
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0


def is_ready(findings: Iterable[Finding]) -> bool:
    """Whether no check that blocks failed."""
    return all(finding.ok for finding in findings if finding.blocks)
