"""The trading context: what a caller gets that only looks, where the broker of the stage cannot be opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from kobe_jobs.trading.context import open_trading_context
from kobe_resources.errors import UsageError
from kobe_resources.settings.models import Settings
from kobe_resources.settings.secrets import Secrets

PAPER = Settings(broker={"stage": "paper"})


@pytest.mark.usefixtures("home")
def test_a_caller_that_only_looks_is_told_by_each_question_why_there_is_no_broker() -> None:
    with open_trading_context(PAPER, Secrets(), even_without_broker=True) as trading:
        assert trading.stage == "paper"
        assert trading.ledger.verify_audit().holds
        for _ in range(2):
            with pytest.raises(UsageError, match="no keys"):
                trading.broker.clock()


def test_without_a_broker_nothing_else_is_opened(home: Path) -> None:
    with pytest.raises(UsageError, match="no keys"), open_trading_context(PAPER, Secrets()):
        pass
    assert not (home / "orders.sqlite").exists()
