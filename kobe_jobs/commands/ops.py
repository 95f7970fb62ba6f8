"""`kobe ui`, `kobe health`, `kobe backup`, `kobe restore`, `kobe units`: running Kobe, and getting it back."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add this area's commands."""
