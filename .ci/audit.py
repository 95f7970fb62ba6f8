"""Ask the advisory service about every pinned package: exit 1 where a known vulnerability is in constraints.txt.

Run by `make audit` with pip-audit beside it. Without the service (no network, a mirror that has no advisories) nothing can
be said, and that is said in one line with exit 0: an audit that could not be done must not look like one that found nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"
LIMIT_S = 300


def judge(dependencies: list[dict[str, Any]]) -> tuple[int, list[str]]:
    """(exit code, lines) for what pip-audit reported."""
    found = [
        f"{one['name']} {one['version']}: {flaw['id']}, mended in {', '.join(flaw.get('fix_versions') or ['no version yet'])}"
        for one in dependencies
        for flaw in one.get("vulns", [])
    ]
    asked = [one for one in dependencies if "skip_reason" not in one]
    skipped = [one["name"] for one in dependencies if "skip_reason" in one]
    if not asked:
        return 0, [f"audit: NOT DONE, the advisory service knew none of {len(dependencies)} packages (no way to it from here?)"]
    lines = [f"audit: {len(asked)} packages asked about, {len(found)} known vulnerabilities", *found]
    if skipped:
        lines.append(f"audit: not asked about: {', '.join(skipped)}")
    return (1 if found else 0), lines


def main() -> int:
    """Run pip-audit over the pins and say what it found."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(CONSTRAINTS), "--no-deps", "--disable-pip"]
    try:
        done = subprocess.run(
            [*command, "--format", "json", "--progress-spinner", "off"],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        code, lines = judge(json.loads(done.stdout)["dependencies"])
    except subprocess.TimeoutExpired:
        code, lines = 0, [f"audit: NOT DONE, the advisory service did not answer in {LIMIT_S} s"]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        # Only a missing network may pass: a pin file that cannot be read is our own fault.
        offline = any(
            word in done.stderr for word in ("ConnectionError", "Max retries exceeded", "Failed to resolve", "Timeout")
        )
        code, lines = (0 if offline else 1), [f"audit: NOT DONE, {last}"]
    sys.stdout.write("\n".join(lines) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
