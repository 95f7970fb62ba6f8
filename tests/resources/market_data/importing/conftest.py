"""An import into the test's own folder, and what it wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pandas as pd
import pytest

from kobe_resources.market_data.importing.folder import Written, target_of, write
from kobe_resources.market_data.importing.reading import read_files
from kobe_resources.market_data.importing.staging import Wishes
from kobe_resources.market_data.importing.telling import describe_import
from kobe_resources.market_data.protocol import SilentProgress

COLUMNS = ["symbol", "session", "open", "high", "low", "close", "volume"]


class Imported(NamedTuple):
    """What was understood and written, and the bars that lie in the folder after it."""

    understood: dict[str, Any]
    written: Written
    bars: pd.DataFrame
    folder: Path


Importer = Callable[..., Imported]


@pytest.fixture
def bring(tmp_path: Path) -> Importer:
    """Import files or folders into `tmp_path/bars`."""

    def bring_in(*paths: Path, into: Path = tmp_path / "bars", **wishes: Any) -> Imported:
        with read_files(list(paths), target_of(into), Wishes(**wishes), 0.01, SilentProgress()) as reading:
            understood = describe_import(reading)
            written = write(reading, SilentProgress())
        return Imported(understood, written, stored(written.path), written.path.parent)

    return bring_in


def stored(path: Path) -> pd.DataFrame:
    """The bars of a file, with sessions as text."""
    if not path.exists():
        return pd.DataFrame(columns=COLUMNS)
    with duckdb.connect() as connection:
        return connection.execute(f"SELECT * REPLACE (session::VARCHAR AS session) FROM '{path}' ORDER BY symbol, session").df()


def put(folder: Path, name: str, content: bytes | str) -> Path:
    """A file in a folder that is made for it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def assert_same(bars: pd.DataFrame, wanted: pd.DataFrame) -> None:
    """The bars are the wanted ones, to rounding."""
    wanted = wanted.sort_values(["symbol", "session"]).reset_index(drop=True)[COLUMNS].astype({"volume": float})
    pd.testing.assert_frame_equal(bars[COLUMNS].reset_index(drop=True), wanted, check_dtype=False, rtol=1e-9)
