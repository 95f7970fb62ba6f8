"""What is held while a run is refused, breaks off or is stopped: protected, or named."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kobe_jobs.trading.admission import StaleSignal
from kobe_jobs.trading.bare_positions import find_unguarded, unproven
from kobe_jobs.trading.context import TradingContext
from kobe_jobs.trading.readiness.research_gate import EvidenceMissing
from kobe_jobs.trading.session import trade_session
from kobe_resources.broker.exchange.embedded import EmbeddedBroker
from kobe_resources.broker.protocol import BrokerOrder, BrokerUnavailable, OrderRequest
from kobe_resources.errors import KobeError
from kobe_resources.kill_switch import KillSwitchOn
from kobe_resources.order_ledger.sessions import BegunOtherwise
from tests.jobs.trading.test_protection import bare, cancel_stop, trade
from tests.jobs.trading.test_resuming import Around
from tests.jobs.trading.test_session import ACCOUNT, orders, posts, second_day
from tests.support.builders import small_market as market


def refusing(refusal: type[BaseException], what: str = "not this one") -> Callable[..., None]:
    """A step of a run that ends it."""

    def refuse(*_: Any) -> None:
        raise refusal(what, "mend it")

    return refuse


@pytest.mark.usefixtures("only_waiting_takes_time")
@pytest.mark.parametrize("refusal", [StaleSignal, EvidenceMissing, BegunOtherwise])
def test_what_is_held_is_protected_though_the_run_is_refused(
    rig: TradingContext, embedded: EmbeddedBroker, refusal: type[KobeError], monkeypatch: pytest.MonkeyPatch
) -> None:
    second_day(rig, embedded)
    cancel_stop(embedded, "S04")
    embedded.faults.add({"settings": {"no_offer_until_s": 0}})
    monkeypatch.setattr("kobe_jobs.trading.session.claim_for_run", refusing(refusal))
    with pytest.raises(refusal, match=r"^not this one: mend it$"):
        trade_session(rig)
    assert bare(embedded) == []
    cancel_stop(embedded, "S04")
    embedded.faults.add({"kind": "not_tradable", "times": None, "match": {"method": "POST", "symbol": "S04"}})
    with pytest.raises(refusal, match="S04 has no protective stop"):
        trade(rig, rig.broker, resolve_timeout_s=0.1)
    assert [side for symbol, side, *_ in orders(embedded)[5:] if symbol != "S04"] == []


@pytest.mark.parametrize("entry", ["ioc", "opg"])
@pytest.mark.parametrize(
    ("content", "words"), [("def half(:\n", "SyntaxError"), (None, "is no strategy")], ids=["broken", "unknown"]
)
def test_what_is_held_is_protected_though_no_strategy_can_be_read(
    rig: TradingContext, embedded: EmbeddedBroker, tmp_path: Path, content: str | None, words: str, entry: str
) -> None:
    second_day(rig, embedded)
    cancel_stop(embedded, "S04")
    settings = market.make_settings(entry)
    if content is None:
        portfolio = settings.portfolio.model_copy(update={"strategies": {"gone": 1.0}})
        settings = settings.model_copy(update={"portfolio": portfolio})
    else:
        (tmp_path / "own").mkdir()
        (tmp_path / "own" / "mine.py").write_text(content)
        strategy = settings.strategy.model_copy(update={"folder": tmp_path / "own"})
        settings = settings.model_copy(update={"strategy": strategy})
    with pytest.raises(KobeError, match=words):
        trade_session(dataclasses.replace(rig, settings=settings))
    assert bare(embedded) == []


def test_what_a_begun_session_holds_is_protected_after_the_close_though_no_strategy_can_be_read(
    rig: TradingContext, embedded: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_day(rig, embedded)
    with monkeypatch.context() as patch:
        patch.setattr("kobe_jobs.trading.session.take_steps", refusing(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            trade_session(rig)
    cancel_stop(embedded, "S04")
    embedded.advance_to(market.EXIT_DAY, "after")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.py").write_text("def half(:\n")
    settings = market.make_settings()
    strategy = settings.strategy.model_copy(update={"folder": tmp_path / "own"})
    with pytest.raises(KobeError, match="SyntaxError"):
        trade_session(dataclasses.replace(rig, settings=settings.model_copy(update={"strategy": strategy})))
    assert bare(embedded) == []


@pytest.mark.parametrize("refusal", [StaleSignal, BegunOtherwise, KillSwitchOn])
def test_what_an_entry_bought_before_its_run_was_killed_is_protected_or_named_by_a_refused_run(
    rig: TradingContext, embedded: EmbeddedBroker, refusal: type[KobeError], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Around):
        def submit(self, order: OrderRequest) -> BrokerOrder:
            answer = self.inner.submit(order)
            # As `kill -9` behind the POST: the broker fills, the ledger knows of no answer.
            raise SystemExit(answer.id)

    with pytest.raises(SystemExit):
        trade(rig, Killed(rig))
    embedded.settle()
    (bought,) = bare(embedded)
    text = f"{bought} has no protective stop at the broker"
    assert [row.text for row in find_unguarded(rig.ledger, ACCOUNT, rig.broker)] == [f"{text} for its 3 shares"]
    assert unproven(rig.ledger, ACCOUNT) == [bought]
    if refusal is KillSwitchOn:
        rig.kill_switch.turn_on("now")
    monkeypatch.setattr("kobe_jobs.trading.session.claim_for_run", refusing(refusal))
    with pytest.raises(refusal) as refused:
        trade_session(rig)
    if refusal is KillSwitchOn:
        assert f"{bought} has no protective stop" in str(refused.value)
    else:
        assert bare(embedded) == []
        assert str(refused.value) == "not this one: mend it"


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (BrokerUnavailable, "the broker does not answer"),
        (KobeError, "order kobe-1 of S04 has another size or limit at the broker"),
    ],
    ids=["of the broker", "about that position"],
)
def test_a_run_that_breaks_off_names_what_the_ledger_cannot_prove_protected(
    rig: TradingContext, embedded: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch, error: type[KobeError], what: str
) -> None:
    second_day(rig, embedded)
    with rig.ledger.write() as write:
        write.execute("UPDATE intents SET state = 'CANCELED' WHERE symbol = 'S04' AND leg LIKE 'stop%'")
    monkeypatch.setattr("kobe_jobs.trading.session.take_steps", refusing(error, what))
    with pytest.raises(error, match=rf"{what}; S04 may have no stop at the broker: mend it$"):
        trade_session(rig)


def test_a_run_that_breaks_off_names_all_that_may_be_bare(
    rig: TradingContext, embedded: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_day(rig, embedded)
    monkeypatch.setattr("kobe_jobs.trading.session.take_steps", refusing(BrokerUnavailable))
    monkeypatch.setattr("kobe_jobs.trading.session.unproven", lambda *_: ["S04", "a", "t"])
    with pytest.raises(BrokerUnavailable, match=r"not this one; S04, a, t may have no stop at the broker"):
        trade_session(rig)


def test_a_run_that_is_stopped_names_what_may_be_bare(
    rig: TradingContext, embedded: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    second_day(rig, embedded)
    with rig.ledger.write() as write:
        write.execute("UPDATE intents SET state = 'CANCELED' WHERE symbol = 'S04' AND leg LIKE 'stop%'")

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kobe_jobs.trading.session.take_steps", stopped)
    with pytest.raises(KeyboardInterrupt):
        trade_session(rig)
    line = "kobe: the run was stopped; S04 may have no stop at the broker: `kobe trade` resumes it"
    assert line in capsys.readouterr().err.splitlines()


def test_a_run_that_the_kill_switch_refuses_names_what_is_bare(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    second_day(rig, embedded)
    cancel_stop(embedded, "S04")
    rig.kill_switch.turn_on("now")
    before = posts(embedded)
    with pytest.raises(KillSwitchOn, match="S04 has no protective stop") as refused:
        trade_session(rig)
    assert "may have no stop" not in str(refused.value)
    assert posts(embedded) == before
