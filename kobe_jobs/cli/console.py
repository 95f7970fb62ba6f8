"""What the console script `kobe` calls: the command line, and one line instead of a trace where Ctrl-C comes while it loads."""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    try:
        from kobe_jobs.cli.main import main as run
    except KeyboardInterrupt:
        sys.stderr.write("kobe: stopped before it began\n")
        sys.exit(INTERRUPTED)
    run()
