"""A Dagster instance of the test's own."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Ephemeral: its runs end with the test."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance
