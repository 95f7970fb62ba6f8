"""kill -9 at every step of a run, faults at random, five processes at once: nothing twice, nothing lost, nothing over budget.

CRASH_RUNS sets how many scenes are played (default 12), CRASH_SEED which; a failing one names its faults and deaths.
"""

from __future__ import annotations

import collections
import os
import random
import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kobe_jobs.trading.session import trade_session
from kobe_resources.broker.exchange.embedded import EmbeddedBroker
from kobe_resources.order_ledger import OrderLedger, OrderState
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import all_positions, open_positions
from kobe_resources.order_ledger.sessions import claim_of
from kobe_resources.order_ledger.states import UNSETTLED
from tests.support.builders import small_market as market
from tests.support.drivers import crash_child

RUNS = int(os.environ.get("CRASH_RUNS", "12"))
SEED = os.environ.get("CRASH_SEED", "")
ACCOUNT = "simulated:PA0EMBEDDED0"
RERUNS = 6
ORDERS, CLOCK = "/v2/orders", "/v2/clock"

POST_FAULTS = [
    "reset", "hang", "504", "500", "503_html", "200_html", "200_empty", "bad_json", "429", "302", "403_html", "404_gateway",
    "duplicate_id", "unknown_status", "wrong_id", "401", "insufficient_buying_power", "not_tradable", "wash_trade",
]  # fmt: skip
BEHAVIOURS = ["partial_fill", "no_fill", "late_visibility"]
READ_FAULTS = ["reset", "504", "503_html", "200_empty", "200_html", "bad_json", "429", "unknown_status", "401", "200_list"]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the entry day was traded, and the exit day is about to be."""
    folder = tmp_path_factory.mktemp("template")
    settings = market.make_settings()
    with market.start_broker(folder) as embedded:
        embedded.advance_to(market.ENTRY_DAY, "open")
        adapter = market.speak_to(embedded.url, settings)
        rig = market.make_context(folder, adapter, settings)
        assert trade_session(rig).is_clean
        rig.ledger.close()
        adapter.close()
        embedded.advance_to(market.EXIT_DAY, "open")
    return folder


class Scene:
    """A copy of the template with its broker, and runs over it."""

    def __init__(self, folder: Path, embedded: EmbeddedBroker) -> None:
        self.folder = folder
        self.embedded = embedded

    def run(self, die_at: int = 0) -> dict[str, Any] | None:
        """One run; None where it died."""
        (self.folder / "result.json").unlink(missing_ok=True)
        process = crash_child.start(self.folder, self.embedded.url, die_at)
        process.join()
        assert process.exitcode in ((0, -9) if die_at else (0,)), process.exitcode
        result = crash_child.outcome(self.folder) if process.exitcode == 0 else None
        if result and result.get("clean"):
            assert self.is_whole(), f"clean, and yet: {self.orders()}"
        return result

    def is_whole(self) -> bool:
        """Does the broker's book hold every position with its stop, no stop without its position, and nothing else open?"""
        rows = self.embedded.book.state.rows("SELECT symbol, kind, side, qty - filled_qty AS rest, status FROM orders")
        ended = ("filled", "canceled", "expired", "rejected")
        living = sorted((row["symbol"], row["kind"], row["side"], row["rest"]) for row in rows if row["status"] not in ended)
        held = self.embedded.book.state.positions()
        stops = [(row["symbol"], "stop", "sell" if row["qty"] > 0 else "buy", abs(row["qty"])) for row in held]
        return living == sorted(stops)

    def converge(self) -> list[dict[str, Any]]:
        """Run until the session is done; what each run told."""
        results = []
        for _ in range(RERUNS):
            result = self.run()
            assert result is not None
            results.append(result)
            if result.get("clean"):
                return results
            self.embedded.faults.clear()
        raise AssertionError(f"no run converged: {results}")

    def orders(self) -> list[Any]:
        """What the broker took, ever."""
        return self.embedded.book.state.rows("SELECT * FROM orders ORDER BY seq")

    def check(self) -> None:
        """The laws."""
        orders = self.orders()
        ids = collections.Counter(order["client_order_id"] for order in orders)
        assert max(ids.values()) == 1
        with OrderLedger(self.folder / "orders.sqlite") as ledger:
            our_orders = {order["client_order_id"]: book.find(ledger, order["client_order_id"]) for order in orders}
            assert all(our_orders.values()), "an order that the ledger does not know"
            bought = collections.Counter((i.symbol, i.session) for i in our_orders.values() if i and i.purpose == book.ENTRY)
            assert not bought or max(bought.values()) == 1, "two entries for one signal"
            for session in (market.ENTRY_DAY, market.EXIT_DAY):
                sent = [i for i in our_orders.values() if i and i.purpose == book.ENTRY and i.session == session]
                worth = sum(((i.limit_price or Decimal(0)) * i.qty for i in sent), Decimal(0))
                assert worth <= Decimal(repr(market.BUDGET)), f"${worth} in {session}"
            for order in orders:
                ours = our_orders[order["client_order_id"]]
                assert ours
                assert abs(float(ours.filled_qty) - order["filled_qty"]) < 1e-9, "a fill was lost"
                assert ours.state is not OrderState.NOT_PLACED
            resting = {order["symbol"]: order["qty"] for order in orders if order["status"] == "new"}
            held_by_us = {held.symbol: float(held.qty) for held in open_positions(ledger, ACCOUNT)}
            theirs = {row["symbol"]: row["qty"] for row in self.embedded.book.state.positions()}
            assert held_by_us == theirs, "positions differ"
            assert resting == held_by_us, "a position without its stop, or a stop without its position"
            waiting = [i for i in book.unsettled(ledger, ACCOUNT) if i.time_in_force != "gtc"]
            assert not waiting
            claim = claim_of(ledger, ACCOUNT, market.EXIT_DAY)
            assert claim is not None
            assert claim.state == "done", claim
            found = ledger.verify_audit()
            assert found.holds, found.problem
            assert found.not_copied == 0

    def result(self) -> dict[str, tuple[str, float, str | None]]:
        """Position by symbol and day: shares and exit reason."""
        with OrderLedger(self.folder / "orders.sqlite") as ledger:
            return {
                f"{held.symbol} {held.entry_session}": (str(held.is_open), float(held.entry_qty), held.exit_reason)
                for held in all_positions(ledger, ACCOUNT)
            }


@pytest.fixture
def scene(tmp_path: Path, template: Path) -> Iterator[Scene]:
    folder = tmp_path / "scene"
    shutil.copytree(template, folder)
    with market.start_broker(folder) as embedded:
        yield Scene(folder, embedded)


def test_the_run_without_trouble_is_the_measure(scene: Scene) -> None:
    summary = scene.run()
    assert summary is not None
    assert summary["clean"], summary
    assert summary["exits"] == {"rsi_exit": 2}
    assert (summary["submitted"], summary["filled"]) == (4, 4) or summary["submitted"] == 5
    scene.check()


@pytest.fixture(scope="module")
def whole(template: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, Any]]:
    """How many steps a whole run has, and what it leaves."""
    folder = tmp_path_factory.mktemp("whole") / "scene"
    shutil.copytree(template, folder)
    with market.start_broker(folder) as embedded:
        scene = Scene(folder, embedded)
        summary = scene.run()
        assert summary is not None
        return summary["steps"], scene.result()


def random_faults(dice: random.Random) -> list[dict[str, Any]]:
    """One to three faults that strike somewhere in a run."""
    faults = []
    for _ in range(dice.randint(1, 3)):
        draw = dice.random()
        if draw < 0.6:
            match = {"method": "POST", "path": ORDERS, "nth": dice.randint(1, 12)}
            faults.append({"kind": dice.choice(POST_FAULTS), "when": dice.choice(["before", "after"]), "match": match})
        elif draw < 0.8:
            match = {"method": "POST", "path": ORDERS, "nth": dice.randint(1, 12)}
            fault: dict[str, Any] = {"kind": dice.choice(BEHAVIOURS), "match": match, "share": dice.choice([0.4, 0.7])}
            if fault["kind"] == "late_visibility":
                fault |= {"lookups": dice.randint(1, 12), "answer": dice.choice(["504", "reset", "ok", "500"])}
            faults.append(fault)
        elif draw < 0.9:
            match = {"method": "DELETE", "nth": dice.randint(1, 2)}
            faults.append(
                {"kind": dice.choice(["reset", "504", "500", "429"]), "when": dice.choice(["before", "after"]), "match": match}
            )
        else:
            match = {"method": "GET", "nth": dice.randint(1, 60)}
            faults.append({"kind": dice.choice(READ_FAULTS), "match": match, "times": dice.randint(1, 5)})
    for fault in faults:
        if fault["kind"] == "hang":
            fault["seconds"] = 0.8
    return faults


def test_death_at_any_step_leaves_a_session_that_the_next_run_finishes(
    tmp_path: Path, template: Path, whole: tuple[int, dict[str, Any]]
) -> None:
    steps, measure = whole
    dice = random.Random(f"deaths {SEED}")
    for number in range(max(1, RUNS // 2)):
        die_at = dice.randint(1, steps)
        folder = tmp_path / f"scene-{number}"
        shutil.copytree(template, folder)
        with market.start_broker(folder) as embedded:
            scene = Scene(folder, embedded)
            died = scene.run(die_at) is None
            assert died, f"step {die_at} of {steps} was not reached"
            results = scene.converge()
            try:
                scene.check()
                assert scene.result() == measure
            except AssertionError as error:
                raise AssertionError(f"died at step {die_at} of {steps}; then {results}") from error


def test_death_and_faults_together_lose_nothing_and_double_nothing(
    tmp_path: Path, template: Path, whole: tuple[int, dict[str, Any]]
) -> None:
    steps, _ = whole
    dice = random.Random(f"faults {SEED}")
    for number in range(max(1, RUNS // 2)):
        faults = random_faults(dice)
        deaths = [dice.randint(1, steps) for _ in range(dice.randint(0, 2))]
        folder = tmp_path / f"scene-{number}"
        shutil.copytree(template, folder)
        with market.start_broker(folder) as embedded:
            scene = Scene(folder, embedded)
            embedded.faults.add(*faults)
            for die_at in deaths:
                scene.run(die_at)
            try:
                results = scene.converge()
                scene.check()
            except AssertionError as error:
                raise AssertionError(f"faults {faults}, deaths at {deaths} of {steps}") from error
            assert results


def test_five_processes_at_once_trade_one_session_once(scene: Scene) -> None:
    processes = [crash_child.start(scene.folder, scene.embedded.url, name=f"p{n}") for n in range(5)]
    for process in processes:
        process.join()
    results = [crash_child.outcome(scene.folder, f"p{n}") for n in range(5)]
    clean = [result for result in results if result.get("clean")]
    assert sum("already traded" not in str(result["notes"]) for result in clean) == 1, results
    assert {result["error"] for result in results if "error" in result} <= {"AnotherRunTrades"}, results
    scene.check()


def test_unsettled_states_are_all_looked_at() -> None:
    assert {OrderState.SUBMITTING, OrderState.UNKNOWN, OrderState.ACCEPTED} == UNSETTLED
