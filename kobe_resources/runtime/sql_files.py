"""SQL that is longer than a line lies in .sql files beside the module that runs it; here they are read."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def read_sql(folder: Path, name: str) -> str:
    """The text of `name`.sql in `folder`."""
    return (folder / f"{name}.sql").read_text(encoding="utf-8")
