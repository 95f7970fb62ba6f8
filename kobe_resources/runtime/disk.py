"""Free room on the disk of a folder, and how much of it a run and the health page want."""

from __future__ import annotations

import shutil
from pathlib import Path

LEAST_FREE_TO_TRADE = 200_000_000
"""A session's ledger and logs."""
LEAST_FREE_TO_BE_READY = 1_000_000_000
"""The same, and a day's data: warned of in time to make room."""


def free_space(folder: Path) -> tuple[int, Path]:
    """Free bytes at the folder, or at the nearest one above it that exists, and which one that is."""
    place = next(place for place in (folder, *folder.parents) if place.exists())
    return shutil.disk_usage(place).free, place
