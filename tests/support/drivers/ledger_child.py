"""What several processes do to one ledger at once; imports little, so that they start fast."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from kobe_resources.order_ledger import OrderLedger
from kobe_resources.order_ledger import orders as book
from tests.support.builders.trading import order_plan
from tests.support.drivers.forkserver import forked_after

BUDGET = Decimal(1000)
PROCESSES = 5


def append_and_copy(path: str, _: int) -> None:
    """Thirty records in fifteen transactions, each copied out."""
    with OrderLedger(Path(path)) as ledger:
        for _ in range(15):
            with ledger.write() as write:
                write.audit("filled", price="12.50")
                write.audit("filled", price="12.50")
            ledger.copy_audit()


def reserve(path: str, offset: int) -> None:
    """Ten reservations of $60, some of them also other processes'."""
    with OrderLedger(Path(path)) as ledger:
        for number in range(10):
            try:
                with ledger.write() as write:
                    book.plan(write, order_plan(f"P{(number + 6 * offset) % 30}"), BUDGET)
            except book.BudgetExceeded:
                continue


_context = forked_after("tests.support.drivers.ledger_child")


def all_at_once(work: Any, path: Path) -> list[int | None]:
    """Run `work(path, number)` in five processes; their exit codes."""
    processes = [_context.Process(target=work, args=(str(path), number)) for number in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]
