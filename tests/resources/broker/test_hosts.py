"""Host × stage: what may be spoken to from where, and what `open_broker` opens."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import SecretStr

from kobe_resources.broker.alpaca.adapter import AlpacaBroker
from kobe_resources.broker.exchange.__main__ import _from_settings
from kobe_resources.broker.exchange.embedded import EmbeddedBroker, Terms
from kobe_resources.broker.exchange.simulated import SimulatedBroker
from kobe_resources.broker.hosts import DATA_URL, LIVE_URL, PAPER_URL, UrlRefusals, hosts_of, is_loopback, plain_url
from kobe_resources.broker.open import (
    connect_embedded,
    embedded_terms,
    open_broker,
    simulated_terms,
    standing_at,
    start_embedded,
)
from kobe_resources.broker.protocol import SendsNothing
from kobe_resources.errors import UsageError
from kobe_resources.settings.load import kobe_home, load_settings
from kobe_resources.settings.models import BrokerSettings, Settings
from kobe_resources.settings.secrets import Secrets
from kobe_resources.warehouse.store import Warehouse
from tests.resources.broker.conftest import FIRST, KEY_ID, SECRET, SESSIONS, flat_rows, limit_order

LOOPBACK = "http://127.0.0.1:8123"
STAGES: tuple[Any, ...] = ("shadow", "simulated", "paper", "live")
URLS = [
    None,
    LIVE_URL,
    PAPER_URL,
    LOOPBACK,
    "https://localhost:9",
    "https://alpaca.example",
    "https://api.alpaca.markets.evil.example",
]
ALLOWED = {
    ("shadow", None): PAPER_URL,
    ("shadow", LIVE_URL): LIVE_URL,
    ("shadow", PAPER_URL): PAPER_URL,
    ("simulated", None): None,
    ("simulated", LOOPBACK): LOOPBACK,
    ("simulated", "https://localhost:9"): "https://localhost:9",
    ("paper", None): PAPER_URL,
    ("paper", PAPER_URL): PAPER_URL,
    ("live", None): LIVE_URL,
    ("live", LIVE_URL): LIVE_URL,
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("url", URLS)
def test_a_host_goes_with_its_stage_only(stage: Any, url: str | None) -> None:
    settings = BrokerSettings(base_url=url)
    if (stage, url) not in ALLOWED:
        with pytest.raises(UsageError, match=stage):
            hosts_of(stage, settings)
        return
    hosts = hosts_of(stage, settings)
    expected = ALLOWED[stage, url]
    assert (hosts.trading_url if hosts else None) == expected
    if hosts:
        assert hosts.is_live == (expected == LIVE_URL)
        assert hosts.data_url == (hosts.trading_url if stage == "simulated" else DATA_URL)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("url", [LOOPBACK, "https://data.example", DATA_URL])
def test_the_data_host_goes_with_its_stage_too(stage: Any, url: str) -> None:
    settings = BrokerSettings(base_url=LOOPBACK if stage == "simulated" else None, data_url=url)
    if is_loopback(url) is (stage == "simulated") and (stage == "simulated" or url == DATA_URL):
        hosts = hosts_of(stage, settings)
        assert hosts is not None
        assert hosts.data_url == url
    else:
        with pytest.raises(UsageError):
            hosts_of(stage, settings)


@pytest.mark.parametrize(
    "url",
    [
        "paper-api.alpaca.markets",
        "https://paper-api.alpaca.markets/v2",
        "https://user:pw@paper-api.alpaca.markets",
        "https://:pw@paper-api.alpaca.markets",
        "https://paper-api.alpaca.markets?x=1",
        "https://paper-api.alpaca.markets:0",
        "http://paper-api.alpaca.markets",
        "http://192.168.1.7:8000",
        "ftp://127.0.0.1",
        "https://",
        "http://[::1",
        "http://127.0.0.1:99999",
    ],
)
@pytest.mark.parametrize("stage", STAGES)
def test_a_url_that_is_no_plain_encrypted_host_is_refused(stage: Any, url: str) -> None:
    with pytest.raises(UsageError):
        hosts_of(stage, BrokerSettings(base_url=url))


def test_a_path_stays_only_where_a_url_may_have_one() -> None:
    refusals = UrlRefusals(*(UsageError(said, "") for said in ("no url", "not plain", "in the clear")))
    assert plain_url("http://127.0.0.2:9/prefix/", refusals, may_have_path=True) == "http://127.0.0.2:9/prefix"
    with pytest.raises(UsageError, match="not plain"):
        plain_url("http://127.0.0.2:9/prefix/", refusals)
    with pytest.raises(UsageError, match="no url"):
        plain_url("http://[::1", refusals)
    with pytest.raises(UsageError, match="in the clear"):
        plain_url("http://data.example/prefix", refusals, may_have_path=True)


@pytest.mark.parametrize(
    "url", ["https://paper-api.alpaca.markets/", "https://PAPER-API.alpaca.markets:443", " https://paper-api.alpaca.markets."]
)
def test_another_spelling_of_the_same_host_is_the_same_host(url: str) -> None:
    hosts = hosts_of("paper", BrokerSettings(base_url=url))
    assert hosts is not None
    assert hosts.trading_url == PAPER_URL


def test_another_spelling_of_the_live_host_is_no_way_around() -> None:
    with pytest.raises(UsageError):
        hosts_of("paper", BrokerSettings(base_url="https://API.alpaca.markets./"))


# open_broker


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("KOBE_HOME", str(tmp_path))
    monkeypatch.setenv("KOBE_CONFIG", str(tmp_path / "kobe.toml"))
    (tmp_path / "kobe.toml").write_text("[simulation]\ninitial_cash = 500.0\n", encoding="utf-8")
    columns = ["symbol", "session", "open", "high", "low", "close"]
    bars = pd.DataFrame(flat_rows("KO"), columns=columns).assign(
        volume=1000.0, source="test", fetched_at=pd.Timestamp.now("UTC")
    )
    splits = pd.DataFrame(
        [("KO", SESSIONS[3], 1.0, 2.0, "test")], columns=["symbol", "execution_date", "split_from", "split_to", "source"]
    )
    Warehouse().replace({"daily_bars": bars, "splits": splits})
    return load_settings()


KEYS = Secrets(alpaca_api_key_id=SecretStr(KEY_ID), alpaca_api_secret_key=SecretStr(SECRET))
NO_KEYS = Secrets()


@pytest.fixture
def opened() -> Iterator[list[Any]]:
    brokers: list[Any] = []
    yield brokers
    for broker in brokers:
        broker.close()


def open_at(settings: Settings, secrets: Secrets, stage: Any, session: dt.date) -> Any:
    broker = open_broker(settings, secrets, stage, leave_clock=True)
    with standing_at(broker, session):
        return broker


def test_simulated_starts_a_server_over_the_warehouse_and_keeps_its_state(settings: Settings, opened: list[Any]) -> None:
    broker = open_at(settings, KEYS, "simulated", SESSIONS[1])
    assert isinstance(broker, SimulatedBroker)
    assert broker.clock().timestamp.date() == SESSIONS[1]
    assert broker.account().cash == Decimal(500)
    broker.submit(limit_order("a", qty="0.5"))
    broker.close()
    again = open_at(settings, KEYS, "simulated", SESSIONS[3])
    opened.append(again)
    assert again.positions()[0].qty == Decimal(1)
    assert again.clock().timestamp.date() == SESSIONS[3]
    with pytest.raises(UsageError, match=r"later than .*`kobe account reset`"), standing_at(again, SESSIONS[2]):
        raise AssertionError
    again.embedded.advance_to(SESSIONS[3], "close")
    opened.append(open_at(settings, KEYS, "simulated", SESSIONS[3]))
    assert opened[-1].embedded.moment.phase == "close"


def test_a_block_that_raises_leaves_the_broker_as_it_was(settings: Settings, opened: list[Any]) -> None:
    broker = open_at(settings, KEYS, "simulated", SESSIONS[1])
    opened.append(broker)
    broker.submit(limit_order("a", qty="0.5"))
    broker.embedded.settle()
    before = broker.embedded.moment, broker.account(), broker.positions(), broker.orders(), broker.fills()

    def trade_and_be_refused() -> None:
        with standing_at(broker, SESSIONS[4]):
            assert broker.positions()[0].qty == Decimal(1)
            broker.submit(limit_order("b", qty="0.5"))
            raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        trade_and_be_refused()
    assert (broker.embedded.moment, broker.account(), broker.positions(), broker.orders(), broker.fills()) == before
    with standing_at(broker, SESSIONS[2]):
        broker.submit(limit_order("b", qty="0.5"))
    assert broker.order_by_client_id("b") is not None


def test_simulated_without_a_session_stands_at_the_last_stored_one(settings: Settings, opened: list[Any]) -> None:
    opened.append(open_broker(settings, NO_KEYS, "simulated"))
    clock = opened[0].clock()
    assert (clock.timestamp.date(), clock.is_open) == (SESSIONS[-1], True)


def test_simulated_over_a_given_server_never_shows_it_the_persons_keys(settings: Settings, opened: list[Any]) -> None:
    with start_embedded(settings) as embedded:
        embedded.book.terms = embedded.terms.__class__(key_id="simulated")
        named = settings.model_copy(update={"broker": BrokerSettings(base_url=embedded.url)})
        broker = open_broker(named, KEYS, "simulated")
        opened.append(broker)
        assert isinstance(broker, AlpacaBroker)
        assert broker.account().number.startswith("PA")


def test_only_a_broker_that_we_started_ourselves_is_spoken_to_without_a_pace(
    settings: Settings, opened: list[Any], tmp_path: Path
) -> None:
    opened.append(open_broker(settings, NO_KEYS, "simulated"))
    assert opened[0]._trading._pace is None
    server = EmbeddedBroker(tmp_path / "another", opened[0].embedded.book.market.bars, Terms())
    named = settings.model_copy(update={"broker": BrokerSettings(base_url=server.url)})
    opened.append(open_broker(named, NO_KEYS, "simulated"))
    opened.append(open_broker(settings, KEYS, "paper"))
    assert all(broker._trading._pace is broker._data._pace is not None for broker in opened[1:])
    assert opened[1].clock()
    assert [path.suffix for path in sorted((kobe_home() / "pace").iterdir())] == [".json", ".lock"]
    unpaced = settings.model_copy(update={"broker": BrokerSettings(base_url=server.url, calls_per_minute=0)})
    opened.append(open_broker(unpaced, NO_KEYS, "simulated"))
    assert opened[-1]._trading._pace is None
    server.close()


def test_shadow_reads_and_sends_nothing(settings: Settings, opened: list[Any]) -> None:
    shadow = open_at(settings, NO_KEYS, "shadow", FIRST)
    opened.append(shadow)
    assert isinstance(shadow, SimulatedBroker)
    assert shadow.read_only
    assert shadow.quotes(["KO"])["KO"].ask > 0
    assert shadow.account().may_trade
    assert shadow.asset("KO") in shadow.assets()
    assert [day.session for day in shadow.calendar(FIRST, FIRST)] == [FIRST]
    assert (shadow.orders(), shadow.fills(), shadow.positions(), shadow.order_by_client_id("a")) == ([], [], [], None)
    with pytest.raises(SendsNothing):
        shadow.submit(limit_order("a"))
    with pytest.raises(SendsNothing):
        shadow.cancel("x")
    assert shadow.clock().is_open


def test_shadow_may_look_back_and_leaves_the_simulated_clock_alone(settings: Settings, opened: list[Any]) -> None:
    for session in (SESSIONS[4], SESSIONS[2]):
        shadow = open_at(settings, NO_KEYS, "shadow", session)
        assert shadow.clock().timestamp.date() == session
        shadow.close()
    simulated = open_at(settings, NO_KEYS, "simulated", SESSIONS[3])
    opened.append(simulated)
    simulated.submit(limit_order("a", qty="0.5"))
    opened.append(open_at(settings, NO_KEYS, "shadow", FIRST))
    assert opened[1].clock().timestamp.date() == FIRST
    assert simulated.clock().timestamp.date() == SESSIONS[3]


@pytest.mark.parametrize(("stage", "url"), [("paper", PAPER_URL), ("live", LIVE_URL), ("shadow", PAPER_URL)])
def test_with_keys_a_stage_speaks_to_its_own_host(settings: Settings, opened: list[Any], stage: Any, url: str) -> None:
    broker = open_broker(settings, KEYS, stage)
    opened.append(broker)
    assert isinstance(broker, AlpacaBroker)
    assert broker.read_only is (stage == "shadow")
    assert broker._trading._client._base_url == url
    assert broker._data._client._base_url == DATA_URL


@pytest.mark.parametrize("stage", ["paper", "live"])
def test_without_keys_there_is_no_broker(settings: Settings, stage: Any) -> None:
    half = Secrets(alpaca_api_key_id=SecretStr(KEY_ID))
    for secrets in (NO_KEYS, half):
        with pytest.raises(UsageError, match="no keys") as raised:
            open_broker(settings, secrets, stage)
        assert KEY_ID not in str(raised.value)


def test_a_process_of_its_own_takes_bars_and_terms_from_the_same_places(settings: Settings) -> None:
    bars, terms = _from_settings()
    assert dataclasses.replace(terms, account_number="") == dataclasses.replace(simulated_terms(settings), account_number="")
    assert bars.last_bar("KO", FIRST) == (FIRST, 100.0, 105.0, 95.0, 102.0)
    assert [split.ratio for split in bars.splits(FIRST, SESSIONS[-1])] == [2.0]


def test_the_terms_are_the_simulations(settings: Settings) -> None:
    terms = embedded_terms(settings)
    assert (terms.initial_cash, terms.slippage_bps, terms.fractional) == (500.0, 5.0, True)


def test_a_replay_holds_server_and_broker_together(settings: Settings, tmp_path: Path) -> None:
    embedded = start_embedded(settings, tmp_path / "replay")
    assert isinstance(embedded, EmbeddedBroker)
    broker = connect_embedded(settings, embedded)
    embedded.advance_to(SESSIONS[5], "open")
    assert broker.clock().timestamp.date() == SESSIONS[5]
    broker.close()
    assert (tmp_path / "replay" / "broker.sqlite").is_file()
