"""The pace of calls: never more than the account's budget in any minute, a part for cancels, and what the broker says first."""

from __future__ import annotations

import time
from email.utils import formatdate
from pathlib import Path

import pytest

from kobe_resources.broker import pacing
from kobe_resources.broker.exchange.embedded import EmbeddedBroker
from kobe_resources.broker.pacing import LONGEST_HOLD_S, MINUTE_S, Pace, order_ahead, pace_of, seconds_to_reset, urgent
from tests.resources.broker.conftest import limit_order, speak_to

NOW = 1_800_000_000.0


class Hands:
    """A wall clock that only sleeping moves; `at` notes when each call went out."""

    def __init__(self) -> None:
        self.now = NOW
        self.at: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds

    def pace(self, limit: int = 150, path: Path | None = None) -> Pace:
        return Pace(limit, path, self.clock, self.sleep)

    def call(self, pace: Pace, count: int = 1) -> None:
        for _ in range(count):
            pace.take()
            self.at.append(self.now)

    def most_in_a_minute(self) -> int:
        return max(sum(start <= at < start + MINUTE_S for at in self.at) for start in self.at)


@pytest.fixture
def hands() -> Hands:
    return Hands()


def test_no_minute_holds_more_calls_than_the_budget_however_they_come(hands: Hands) -> None:
    pace = hands.pace(150)
    for burst in (10, 200, 1, 90, 400):
        hands.call(pace, burst)
        hands.now += 7.0
    assert hands.most_in_a_minute() <= 150
    with urgent():
        hands.call(pace, 300)
    assert hands.most_in_a_minute() <= 150


def test_the_budget_is_used_and_its_calls_are_spread(hands: Hands) -> None:
    hands.call(hands.pace(150), 600)
    assert hands.at[79] == NOW, "a short run waits for nothing"
    assert hands.at[-1] - NOW < 6 * MINUTE_S
    assert max(after - before for before, after in zip(hands.at, hands.at[1:], strict=False)) < 2.0


def test_cancels_do_not_wait_behind_questions(hands: Hands) -> None:
    pace = hands.pace(150)
    hands.call(pace, 119)
    waited_until = hands.now
    with urgent():
        hands.call(pace, 30)
    assert hands.now == waited_until
    hands.call(pace)
    assert hands.now > waited_until


def test_an_urgent_errand_stays_urgent_in_what_it_calls() -> None:
    with urgent():
        with urgent(False):
            assert pacing._is_urgent()
        with order_ahead(is_urgent=False):
            assert pacing._is_urgent()
    assert not pacing._is_urgent()


def test_nothing_waits_between_the_last_look_and_the_order(hands: Hands) -> None:
    pace = hands.pace(20)
    hands.call(pace, 16)
    with order_ahead(is_urgent=False):
        pace.take()
        looked_at = hands.now
        pace.take(is_order=True)
    assert looked_at > NOW
    assert hands.now == looked_at


def test_a_look_that_is_repeated_does_not_take_the_place_of_the_order(hands: Hands) -> None:
    pace = hands.pace(20)
    hands.call(pace, 16)
    with order_ahead(is_urgent=False):
        for _ in range(3):
            pace.take()
        looked_at = hands.now
        pace.take(is_order=True)
        assert hands.now == looked_at
        counted = len(pace._count.calls)
        pace.take(is_order=True)
        assert len(pace._count.calls) == counted + 1, "one order, one place"


def test_processes_on_one_data_folder_share_the_budget(hands: Hands, tmp_path: Path) -> None:
    first, second = hands.pace(50, tmp_path / "calls.json"), hands.pace(50, tmp_path / "calls.json")
    for _ in range(60):
        hands.call(first)
        hands.call(second)
    assert hands.most_in_a_minute() <= 50
    hands.call(hands.pace(50, tmp_path / "calls.json"), 10)
    assert hands.most_in_a_minute() <= 50, "a process that starts anew does not start with a full budget"


@pytest.mark.parametrize("kept", ["", "{", "[]", '{"calls": ["x"], "quiet_until": 0, "spare_until": 0}', "[" * 100_000])
@pytest.mark.usefixtures("no_collection")
def test_what_is_kept_may_be_broken(hands: Hands, tmp_path: Path, kept: str) -> None:
    (tmp_path / "calls.json").write_text(kept)
    hands.call(hands.pace(50, tmp_path / "calls.json"), 60)
    assert hands.most_in_a_minute() <= 50


def test_a_folder_that_cannot_be_written_costs_only_the_sharing(hands: Hands, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    hands.call(hands.pace(50, tmp_path / "file" / "calls.json"), 120)
    assert hands.most_in_a_minute() <= 50


def test_a_clock_that_was_set_back_keeps_nobody_waiting_for_years(hands: Hands) -> None:
    pace = hands.pace(50)
    hands.call(pace, 40)
    hands.now -= 1e6
    began = hands.now
    pace.heard(429, {"Retry-After": "5"})
    hands.call(pace, 10)
    assert hands.now - began < MINUTE_S


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": formatdate(NOW + 9, usegmt=True)}, 9.0),
        ({"Retry-After": formatdate(NOW + 9, usegmt=True), "Date": formatdate(NOW + 4, usegmt=True)}, 5.0),
        ({"X-RateLimit-Reset": str(int(NOW) + 12)}, 12.0),
        ({"X-RateLimit-Reset": str(int(NOW) + 12), "Date": formatdate(NOW + 2, usegmt=True)}, 10.0),
        ({"X-RateLimit-Reset": "3"}, 3.0),
        ({"X-RateLimit-Reset": str(int(NOW) - 5)}, 0.0),
        ({"Retry-After": "soon", "X-RateLimit-Reset": str(int(NOW) + 2)}, 2.0),
        ({"Retry-After": "nan"}, None),
        ({}, None),
    ],
)
def test_what_the_broker_says_of_its_count(headers: dict[str, str], seconds: float | None) -> None:
    assert seconds_to_reset(headers, NOW) == seconds


def test_behind_a_429_nothing_goes_out_before_the_reset(hands: Hands) -> None:
    pace = hands.pace()
    pace.heard(429, {"X-RateLimit-Reset": str(int(NOW) + 20)})
    with urgent():
        hands.call(pace)
    assert hands.now - NOW == pytest.approx(20.0)


def test_a_broker_that_asks_for_a_day_of_silence_is_asked_again_after_a_minute(hands: Hands) -> None:
    pace = hands.pace()
    pace.heard(429, {"Retry-After": "86400"})
    hands.call(pace)
    assert hands.now - NOW == pytest.approx(LONGEST_HOLD_S)


def test_the_last_calls_that_the_broker_counts_are_left_to_cancels(hands: Hands) -> None:
    pace = hands.pace()
    headers = {"X-RateLimit-Remaining": "12", "X-RateLimit-Reset": str(int(NOW) + 30)}
    pace.heard(200, headers)
    with urgent():
        hands.call(pace)
    assert hands.now == NOW
    hands.call(pace)
    assert hands.now - NOW == pytest.approx(30.0)
    pace.heard(200, {**headers, "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(hands.now) + 8)})
    at = hands.now
    with urgent():
        hands.call(pace)
    assert hands.now - at == pytest.approx(8.0, abs=1.0)


def test_a_budget_of_nothing_is_no_pace() -> None:
    assert pace_of(0, "https://paper-api.alpaca.markets", Path()) is None


def test_hosts_have_budgets_of_their_own(tmp_path: Path) -> None:
    for url in ("https://paper-api.alpaca.markets", "https://api.alpaca.markets", "http://[::1]:80", "http://127.0.0.1:80"):
        pace = pace_of(150, url, tmp_path)
        assert pace is not None
        pace.take()
    assert len(list(tmp_path.glob("calls-*.json"))) == 4


def test_every_call_of_the_adapter_is_counted(embedded: EmbeddedBroker, hands: Hands) -> None:
    pace = hands.pace()
    broker = speak_to(embedded.url)
    broker._trading._pace = broker._data._pace = pace
    broker.submit(limit_order("a"))
    broker.quotes(["KO"])
    broker.orders()
    assert len(pace._count.calls) == len(embedded.requests())


def test_a_read_waits_for_the_reset_and_an_order_is_not_sent_again(embedded: EmbeddedBroker) -> None:
    broker = speak_to(embedded.url, 0.3)
    broker.account()
    whole = type(broker._trading)._note

    def with_reset(response: object, **_: object) -> None:
        response.headers["Retry-After"] = "1"  # type: ignore[attr-defined]
        whole(broker._trading, response)  # type: ignore[arg-type]

    broker._trading._client._session.hooks["response"] = [with_reset]
    embedded.faults.add({"match": {"path": "/v2/positions"}, "kind": "429"})
    began = time.monotonic()
    assert broker.positions() == []
    assert 1.0 <= time.monotonic() - began < 5.0
    embedded.faults.add({"match": {"method": "POST"}, "kind": "429"})
    before = embedded.requests().count(("POST", "/v2/orders"))
    with pytest.raises(Exception, match="unknown"):
        broker.submit(limit_order("b"))
    assert embedded.requests().count(("POST", "/v2/orders")) == before + 1


def test_a_rehearsal_waits_for_other_processes_only_once_the_broker_says_that_it_counts(hands: Hands, tmp_path: Path) -> None:
    def process() -> Pace:
        return Pace(150, tmp_path / "calls.json", hands.clock, hands.sleep, waits_for_others=False)

    for _ in range(4):
        hands.call(process(), 79)
    assert hands.now == NOW, "a process that starts anew waits for nothing"
    last = process()
    for status in (429, 429, 429, 200, 429, 429, 429):
        last.heard(status, {})
    hands.call(last)
    assert hands.now == NOW, "refusals among answers are no limit"
    last.heard(429, {})
    hands.call(last)
    assert hands.now - NOW == pytest.approx(MINUTE_S, abs=1.0), "the broker has counted them all"


def test_a_process_of_a_rehearsal_keeps_within_the_budget_by_itself(hands: Hands, tmp_path: Path) -> None:
    hands.call(Pace(150, tmp_path / "calls.json", hands.clock, hands.sleep, waits_for_others=False), 400)
    assert hands.most_in_a_minute() <= 150


def test_only_a_broker_on_this_machine_is_a_rehearsal(tmp_path: Path) -> None:
    for url, waits in (("https://paper-api.alpaca.markets", True), ("http://127.0.0.1:80", False), ("http://[::1]:80", False)):
        pace = pace_of(150, url, tmp_path)
        assert pace is not None
        assert pace._waits_for_others is waits
