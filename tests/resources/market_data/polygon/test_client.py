"""The client against every fault: which typed error, how many calls, how long, and never the key."""

from __future__ import annotations

import datetime as dt
import logging
import socket
import threading
import time

import pytest

from kobe_resources.errors import KobeError, UsageError
from kobe_resources.market_data.over_network import RetryBudget
from kobe_resources.market_data.polygon.client import PolygonClient
from kobe_resources.market_data.polygon.errors import (
    PolygonAuthError,
    PolygonEntitlementError,
    PolygonError,
    PolygonIncomplete,
    PolygonMalformed,
    PolygonNotFound,
    PolygonRateError,
    PolygonRefused,
    PolygonServerError,
    PolygonTransportError,
)
from tests.resources.market_data.polygon.conftest import FRIDAY, HASTE
from tests.support.loopback_polygon import KEY, FaultScript, LoopbackPolygon, Market, ticker_row
from tests.support.loopback_polygon import faults as fault

START = dt.date(2026, 1, 2)

PERMANENT = {
    "401": (fault.refused(401), PolygonAuthError),
    "403": (fault.refused(403), PolygonEntitlementError),
    "404": (fault.refused(404), PolygonNotFound),
    "400": (fault.refused(400), PolygonRefused),
    "301": (fault.refused(301), PolygonRefused),
    "not authorized inside a 200": (fault.saying(status="NOT_AUTHORIZED"), PolygonEntitlementError),
    "429 that asks for an hour": (fault.too_many("3600"), PolygonRateError),
}
PASSING = {
    "429 with Retry-After and body": (fault.too_many("0", fault.TOO_MANY_BODY), PolygonRateError, HASTE.after_rate),
    "429 with Retry-After": (fault.too_many("0"), PolygonRateError, HASTE.after_rate),
    "429 with a date": (fault.too_many("Sun, 22 Nov 2020 08:00:00 GMT"), PolygonRateError, HASTE.after_rate),
    "429 bare": (fault.too_many(), PolygonRateError, HASTE.after_rate),
    "429 with body": (fault.too_many(body=fault.TOO_MANY_BODY), PolygonRateError, HASTE.after_rate),
    "500": (fault.refused(500), PolygonServerError, HASTE.after_server),
    "502": (fault.refused(502, b"<html>Bad Gateway</html>"), PolygonServerError, HASTE.after_server),
    "503": (fault.refused(503), PolygonServerError, HASTE.after_server),
    "reset": (fault.reset, PolygonTransportError, HASTE.after_transport),
    "cut off": (fault.cut_off, PolygonTransportError, HASTE.after_transport),
    "html with 200": (fault.html, PolygonMalformed, HASTE.after_malformed),
    "status ERROR": (fault.error_status, PolygonMalformed, HASTE.after_malformed),
    "status missing": (fault.saying(status=None), PolygonMalformed, HASTE.after_malformed),
    "truncated JSON": (fault.truncated, PolygonMalformed, HASTE.after_malformed),
    "a list for an envelope": (fault.refused(200, b"[]"), PolygonMalformed, HASTE.after_malformed),
    "no JSON at all": (fault.refused(200, b"\xff\xfe"), PolygonMalformed, HASTE.after_malformed),
    "adjusted prices": (fault.saying(adjusted=True), PolygonMalformed, HASTE.after_malformed),
    "another symbol": (fault.saying(ticker="S00002"), PolygonMalformed, HASTE.after_malformed),
    "results of another type": (fault.saying(results={"o": 1}), PolygonMalformed, HASTE.after_malformed),
    "rows of another type": (fault.saying(results=[1], resultsCount=1), PolygonMalformed, HASTE.after_malformed),
    "no count": (fault.saying(resultsCount=None), PolygonMalformed, HASTE.after_malformed),
    "count too high": (fault.wrong_count, PolygonIncomplete, HASTE.after_malformed),
    "rows lost": (fault.lost_rows, PolygonIncomplete, HASTE.after_malformed),
    "no rows but a count": (fault.saying(results=None), PolygonIncomplete, HASTE.after_malformed),
    "next page elsewhere": (
        fault.next_url_to("https://elsewhere.example/v2/more?cursor=x"),
        PolygonMalformed,
        HASTE.after_malformed,
    ),
    "next page is no address": (fault.next_url_to("http://[::1"), PolygonMalformed, HASTE.after_malformed),
}  # fmt: skip


@pytest.mark.parametrize("name", PERMANENT)
def test_what_asking_again_cannot_mend_is_asked_once(server: LoopbackPolygon, client: PolygonClient, name: str) -> None:
    broken, kind = PERMANENT[name]
    server.faults.on(broken)
    with pytest.raises(PolygonError) as caught:
        client.range_bars("S00001", START, FRIDAY)
    assert type(caught.value) is kind
    assert len(server.calls) == client.calls == 1
    assert caught.value.hint


def test_a_plan_that_lacks_a_list_is_not_mended_by_a_shorter_span(server: LoopbackPolygon, client: PolygonClient) -> None:
    server.faults.on(fault.refused(403))
    asked = {
        lambda: client.range_bars("S00001", START, FRIDAY): "shorten data.start",
        lambda: client.grouped_day(FRIDAY): "shorten data.start",
        lambda: client.tickers(): "data.polygon.candidates",
        lambda: client.splits(START, FRIDAY): "get a plan",
    }
    for ask, hint in asked.items():
        with pytest.raises(PolygonEntitlementError) as caught:
            ask()
        assert hint in caught.value.hint
        assert ("data.start" in caught.value.hint) is (hint == "shorten data.start")


@pytest.mark.parametrize("name", PASSING)
def test_a_fault_that_stays_is_asked_as_often_as_its_class_allows_and_is_never_empty(
    server: LoopbackPolygon, client: PolygonClient, name: str
) -> None:
    broken, kind, retries = PASSING[name]
    server.faults.on(broken)
    with pytest.raises(PolygonError) as caught:
        client.range_bars("S00001", START, FRIDAY)
    assert type(caught.value) is kind
    assert len(server.calls) == retries + 1
    line = str(caught.value)
    assert caught.value.hint in line
    assert "\n" not in line
    assert KEY not in line + repr(caught.value) + repr(caught.value.__cause__) + repr(caught.value.__context__)


@pytest.mark.parametrize("name", PASSING)
def test_a_fault_that_passes_leaves_the_whole_answer(server: LoopbackPolygon, client: PolygonClient, name: str) -> None:
    honest = client.range_bars("S00001", START, FRIDAY)
    server.forget()
    server.faults.on(PASSING[name][0], times=1)
    assert client.range_bars("S00001", START, FRIDAY) == honest
    assert len(server.calls) == 2


def test_delayed_is_an_answer(server: LoopbackPolygon, client: PolygonClient) -> None:
    server.faults.on(fault.saying(status="DELAYED"))
    assert len(client.range_bars("S00001", START, FRIDAY)) > 200


def test_an_empty_answer_is_believed_when_given_twice(server: LoopbackPolygon, client: PolygonClient) -> None:
    assert client.range_bars("NOSUCH", START, FRIDAY) == []
    assert len(server.calls) == 2


def test_an_empty_answer_given_once_is_not_believed(server: LoopbackPolygon, client: PolygonClient) -> None:
    server.faults.on(fault.false_empty, times=1)
    assert len(client.range_bars("S00001", START, FRIDAY)) > 200


def test_before_an_empty_answer_is_believed_the_load_that_emptied_it_has_time_to_pass(server: LoopbackPolygon) -> None:
    client = PolygonClient(KEY, server.url, 0, 1, RetryBudget(first_backoff_s=0.2))
    for ask in (lambda: client.range_bars("NOSUCH", START, FRIDAY), lambda: client.has_options("NOSUCH")):
        began = time.monotonic()
        assert not ask()
        assert time.monotonic() - began >= 0.2
    assert len(server.calls) == 2 + 2


def test_a_day_of_the_market_that_is_empty_is_asked_as_often_as_a_malformed_one(
    server: LoopbackPolygon, client: PolygonClient
) -> None:
    server.faults.on(fault.false_empty, path="/grouped/", times=HASTE.after_malformed)
    assert len(client.grouped_day(FRIDAY)) == 10
    assert len(server.calls) == HASTE.after_malformed + 1


def test_a_holiday_is_an_empty_day(client: PolygonClient) -> None:
    assert client.grouped_day(dt.date(2026, 7, 3)) == []


def test_a_silent_server_ends_in_a_timeout_of_our_own(server: LoopbackPolygon) -> None:
    server.faults.on(fault.hang)
    impatient = PolygonClient(KEY, server.url, 0, 1, RetryBudget(read_s=0.3, after_transport=0))
    began = time.monotonic()
    with pytest.raises(PolygonTransportError, match="fell silent"):
        impatient.range_bars("S00001", START, FRIDAY)
    assert 0.25 < time.monotonic() - began < 10.0


def test_a_server_that_was_silent_once_is_asked_again(server: LoopbackPolygon) -> None:
    server.faults.on(fault.hang, times=1)
    impatient = PolygonClient(KEY, server.url, 0, 1, RetryBudget(read_s=0.3, first_backoff_s=0.01))
    assert len(impatient.range_bars("S00001", START, FRIDAY)) == 224


def test_a_server_that_drips_ends_at_the_deadline(server: LoopbackPolygon) -> None:
    server.faults.on(fault.drip)
    impatient = PolygonClient(KEY, server.url, 0, 1, RetryBudget(read_s=5.0, total_s=0.4, after_transport=0))
    began = time.monotonic()
    with pytest.raises(PolygonTransportError, match="drips"):
        impatient.range_bars("S00001", START, FRIDAY)
    assert time.monotonic() - began < 10.0


def test_the_vendor_s_client_itself_would_wait_for_ever_and_retry_on_its_own(server: LoopbackPolygon) -> None:
    """The traps that polygon_client closes; where this fails the SDK has mended them."""
    from polygon import RESTClient

    assert "timeout" not in RESTClient(api_key="x", read_timeout=1.0).client.connection_pool_kw
    server.faults.on(fault.refused(503))
    with pytest.raises(Exception, match="too many 503"):
        RESTClient(api_key=KEY, base=server.url).get_aggs("S00001", 1, "day", "2026-01-02", "2026-01-05")
    assert len(server.calls) > 1


def test_the_vendor_s_client_reads_the_loopback_s_shapes(server: LoopbackPolygon) -> None:
    """Its typed models find every field, so the loopback speaks as the vendor does."""
    from polygon import RESTClient

    sdk = RESTClient(api_key=KEY, base=server.url)
    bar = sdk.get_aggs("S00001", 1, "day", "2026-01-02", "2026-01-05", adjusted=False)[0]
    assert None not in (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.vwap, bar.timestamp, bar.transactions)
    assert sdk.get_grouped_daily_aggs("2026-01-02", adjusted=False)[0].ticker == "S00000"
    assert [ticker.type for ticker in sdk.list_tickers(market="stocks", limit=3)] == ["CS"] * 10
    assert next(iter(sdk.list_options_contracts("S00001", limit=1))).underlying_ticker == "S00001"
    assert sdk.get_market_holidays()[0].status == "closed"


def test_importing_the_vendor_s_client_leaves_nothing_that_writes_to_stdout(client: PolygonClient) -> None:
    for name in ("RESTClient", "WebSocketClient"):
        assert not [handler for handler in logging.getLogger(name).handlers if isinstance(handler, logging.StreamHandler)]


def test_connections_are_kept_and_shared(server: LoopbackPolygon, client: PolygonClient) -> None:
    def ask() -> None:
        for _ in range(10):
            client.grouped_day(FRIDAY)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.calls) == 40
    assert server.connections <= 4


def test_pages_are_read_to_the_end(market: Market, server: LoopbackPolygon, client: PolygonClient) -> None:
    market.tickers = [ticker_row(f"T{number:04d}") for number in range(2500)]
    assert [row["ticker"] for row in client.tickers()] == [f"T{number:04d}" for number in range(2500)]
    assert len(server.calls) == 3
    assert all("limit=1000" in call.query or "cursor=" in call.query for call in server.calls)


@pytest.mark.parametrize("broken", [fault.refused(500), fault.html, fault.truncated, fault.reset, fault.wrong_count])
def test_a_broken_second_page_fails_the_listing(
    market: Market, server: LoopbackPolygon, client: PolygonClient, broken: fault.Fault
) -> None:
    market.tickers = [ticker_row(f"T{number:04d}") for number in range(1500)]
    server.faults.on(broken, path="cursor=")
    with pytest.raises(PolygonError):
        client.tickers()


def test_a_broken_second_page_that_mends_gives_the_whole_listing(
    market: Market, server: LoopbackPolygon, client: PolygonClient
) -> None:
    market.tickers = [ticker_row(f"T{number:04d}") for number in range(1500)]
    server.faults.on(fault.refused(500), path="cursor=", times=2)
    assert len(client.tickers()) == 1500


def test_pages_that_go_in_circles_end(market: Market, server: LoopbackPolygon, client: PolygonClient) -> None:
    market.tickers = [ticker_row("AAA")]
    server.faults.on(fault.next_url_to(f"{server.url}/v3/reference/tickers?active=true&type=CS"))
    with pytest.raises(PolygonIncomplete, match="never end"):
        client.tickers()
    assert len(server.calls) == 2


@pytest.mark.parametrize(
    ("base", "following", "allowed"),
    [
        ("https://api.polygon.io", "https://api.massive.com/v3/x?cursor=1", True),
        ("https://api.polygon.io", "https://api.polygon.io/v3/x?cursor=1", True),
        ("https://api.polygon.io", "https://api.polygon.io.evil.example/v3/x", False),
        ("http://127.0.0.1:80", "https://api.polygon.io/v3/x", False),
        ("http://127.0.0.1:80", "http://127.0.0.1:81/v3/x", False),
    ],
)
def test_only_the_vendor_s_own_hosts_may_be_named_as_next(base: str, following: str, allowed: bool) -> None:
    client = PolygonClient("k", base, 0, 1, HASTE)
    if allowed:
        assert client._next_path({"next_url": following}, "x") == "/v3/x?cursor=1"
    else:
        with pytest.raises(PolygonMalformed, match="another host"):
            client._next_path({"next_url": following}, "x")


def test_a_symbol_is_quoted_in_the_path(server: LoopbackPolygon, client: PolygonClient) -> None:
    client.range_bars("A/B?x=1", START, FRIDAY)
    assert server.calls[0].path == f"/v2/aggs/ticker/A/B?x=1/range/1/day/{START}/{FRIDAY}"
    assert server.calls[0].query == "adjusted=false&sort=asc&limit=50000"


def test_options_are_asked_one_contract_a_symbol(market: Market, server: LoopbackPolygon, client: PolygonClient) -> None:
    market.optionable = {"S00001"}
    assert client.has_options("S00001") is True
    assert client.has_options("S00002") is False
    assert len(server.calls) == 1 + 2


def test_options_of_another_symbol_are_malformed(server: LoopbackPolygon, client: PolygonClient) -> None:
    server.faults.on(fault.saying(results=[{"underlying_ticker": "OTHER"}]))
    with pytest.raises(PolygonMalformed):
        client.has_options("S00001")


def test_the_key_is_stripped(server: LoopbackPolygon) -> None:
    assert PolygonClient(f" {KEY}\r\n", server.url, 0, 1, HASTE).grouped_day(FRIDAY)


def test_a_vendor_that_repeats_the_key_does_not_get_it_into_an_error(server: LoopbackPolygon, client: PolygonClient) -> None:
    server.faults.on(fault.refused(401, f'{{"status":"ERROR","error":"Unknown API Key {KEY}"}}'.encode()), times=1)
    server.faults.on(fault.refused(200, f'{{"status":"ERROR","error":"bad {KEY}"}}'.encode()))
    for expected in ("Unknown API Key [*][*][*]", "bad [*][*][*]"):
        with pytest.raises(PolygonError, match=expected) as caught:
            client.range_bars("S00001", START, FRIDAY)
        assert KEY not in repr(caught.value) + str(caught.value)


def test_the_vendor_s_words_reach_a_person_without_control_bytes(server: LoopbackPolygon, client: PolygonClient) -> None:
    server.faults.on(fault.refused(403, b'{"message":"upgrade\\u001b[31m\\nnow"}'))
    with pytest.raises(PolygonEntitlementError, match=r"upgrade \[31m now"):
        client.range_bars("S00001", START, FRIDAY)


@pytest.mark.parametrize("key", [None, "", "  \n"])
def test_without_a_key_one_line_says_how_to_get_one_and_that_the_sample_works(key: str | None) -> None:
    with pytest.raises(PolygonAuthError) as caught:
        PolygonClient(key, "https://api.polygon.io", 5, 1)
    line = str(caught.value)
    assert "polygon.io" in line
    assert "POLYGON_API_KEY" in line
    assert "sample works without a key" in line
    assert "\n" not in line


@pytest.mark.parametrize("key", ["two words", "tab\there", "schlüssel", "new\nline"])
def test_a_key_with_characters_no_key_has_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(PolygonAuthError) as caught:
        PolygonClient(key, "https://api.polygon.io", 5, 1)
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.polygon.io",
        "ftp://127.0.0.1",
        "api.polygon.io",
        "https://u:p@host",
        "https://:p@host",
        "https://h?x=1",
        "https://h:port",
        "http://127.0.0.1:99999",
        "http://[::1",
    ],
)
def test_a_base_url_that_would_betray_the_key_or_is_none_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=r"data\.polygon\.base_url"):
        PolygonClient("key", url, 5, 1)


def test_nobody_at_the_address_is_a_transport_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    client = PolygonClient(KEY, f"http://127.0.0.1:{port}", 0, 1, HASTE)
    with pytest.raises(PolygonTransportError, match="refused"):
        client.range_bars("S00001", START, FRIDAY)
    assert client.calls == HASTE.after_transport + 1


def test_a_redirect_is_not_followed_with_the_key(server: LoopbackPolygon, client: PolygonClient) -> None:
    server.faults.on(lambda reply, rng: fault.Reply(302, b"", {"Location": f"{server.url}/v1/marketstatus/upcoming"}))
    with pytest.raises(PolygonRefused, match="redirects"):
        client.range_bars("S00001", START, FRIDAY)
    assert len(server.calls) == 1


def test_proxies_of_the_environment_do_not_see_the_key(server: LoopbackPolygon, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert PolygonClient(KEY, server.url, 0, 1, HASTE).grouped_day(FRIDAY)


def test_a_stopped_client_wakes_its_waiters_and_sends_nothing_more(server: LoopbackPolygon) -> None:
    server.faults.on(fault.too_many("30"))
    client = PolygonClient(KEY, server.url, 0, 1, RetryBudget())
    caught: list[KobeError] = []

    def ask() -> None:
        try:
            client.range_bars("S00001", START, FRIDAY)
        except KobeError as error:
            caught.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    while not server.calls:
        time.sleep(0.01)
    client.close()
    thread.join(timeout=5)
    assert not thread.is_alive()
    assert len(caught) == 1
    assert len(server.calls) == 1


def test_faults_hit_the_calls_they_are_scripted_for() -> None:
    script = FaultScript().on(fault.reset, calls={2}).on(fault.hang, path="/v3/", times=1)
    honest = fault.Reply(200, b"{}")
    assert [script.apply(number, "/v2/x", honest).delivery for number in (1, 2, 3)] == ["whole", "reset", "whole"]
    assert [script.apply(number, "/v3/x", honest).wait_s for number in (4, 5)] == [None, 0.0]


def test_where_nothing_ever_answered_the_plan_s_minute_is_not_waited_for() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    client = PolygonClient(KEY, f"http://127.0.0.1:{port}", 2, 1, RetryBudget(first_answer_s=0.5))
    began = time.monotonic()
    with pytest.raises(PolygonTransportError, match="refused"):
        client.range_bars("S00001", START, FRIDAY)
    assert time.monotonic() - began < 3
