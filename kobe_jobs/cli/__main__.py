"""`python -m kobe_jobs.cli`: the same as the console script `kobe`."""

from kobe_jobs.cli.console import main

main()
