"""The gates that did not pass: in full for what is nearest to a yes, briefly for the others."""

from __future__ import annotations

from typing import Any

from kobe_jobs.cli.failed_gates import failed_gates_text


def row(strategy: str, passed: int, *labels: str) -> dict[str, Any]:
    failed = [
        {"label": label, "shown": "0.1", "bar": 0.5, "needs": "≥ 0.5", "short": "0.4 short", "change": f"Mend {label}."}
        for label in labels
    ]
    return {"strategy": strategy, "mode": "canonical", "gates_passed": passed, "gates": 12, "failed": failed}


def test_what_passed_most_is_told_with_bar_and_mend_and_the_others_with_number_and_distance() -> None:
    lines = failed_gates_text([row("far", 10, "A", "B"), row("near", 11, "C"), row("yes", 12)], 120).splitlines()
    assert lines[1:] == [
        "near canonical, the nearest to a yes",
        "  C: 0.1 (must be ≥ 0.5, 0.4 short). Mend C.",
        "far canonical",
        "  A: 0.1 (0.4 short); B: 0.1 (0.4 short)",
        lines[-1],
    ]
    assert "`kobe report --json`" in lines[-1]


def test_one_strategy_alone_is_told_in_full_and_no_failed_gate_is_no_text() -> None:
    assert failed_gates_text([row("only", 11, "C")], 100).splitlines()[1:] == [
        "only canonical",
        "  C: 0.1 (must be ≥ 0.5, 0.4 short). Mend C.",
    ]
    assert failed_gates_text([row("yes", 12)], 100) == ""
