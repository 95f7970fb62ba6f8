"""HTTP calls through alpaca-py, each bounded in time, sent once, through no proxy, and returned as a plain `Answer`.

Trusts nothing that comes back. The SDK's own errors carry the request, and with it the keys: none of them leaves this module.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from alpaca.common.exceptions import APIError
from alpaca.common.rest import RESTClient
from requests import PreparedRequest, ReadTimeout, RequestException, Response, Timeout
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from kobe_resources.broker.pacing import Pace, seconds_to_reset
from kobe_resources.runtime.call_deadline import BOUNDED_POOLS, Deadline

CONNECT_TIMEOUT_S = 5.0
MESSAGE_LIMIT = 300


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back of one HTTP call.

    status: None where no HTTP answer came. body: the JSON, None where there is none. problem: a short cause in plain words,
    empty where the answer is a readable 2xx. reset_s: seconds after which a 429 asks to be asked again, where it says so.
    """

    status: int | None
    body: Any
    request_id: str | None
    problem: str
    reset_s: float | None = None

    @property
    def ok(self) -> bool:
        """Whether it is a 2xx whose body could be read (or was empty)."""
        return not self.problem

    @property
    def code(self) -> int | None:
        """Alpaca's error code, where the body has one."""
        value = self.body.get("code") if isinstance(self.body, dict) else None
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    @property
    def message(self) -> str:
        """Alpaca's error message; empty where the body is not its JSON."""
        value = self.body.get("message") if isinstance(self.body, dict) else None
        return value[:MESSAGE_LIMIT] if isinstance(value, str) else ""

    @property
    def may_pass(self) -> bool:
        """Whether it is a failure that a second request may not meet."""
        return not self.ok and (self.status is None or self.status < 300 or self.status == 429 or self.status >= 500)


class TimedAdapter(HTTPAdapter):
    """Ends every call after `timeout_s`, its body included; alpaca-py sends all of them without a timeout."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        super().__init__(max_retries=0)
        self.poolmanager.pool_classes_by_scheme = BOUNDED_POOLS

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        """Send with (connect, read) seconds and read all of the answer; a caller's own timeout is kept."""
        if options.get("timeout") is None:
            options["timeout"] = (min(CONNECT_TIMEOUT_S, self.timeout_s), self.timeout_s)
        with Deadline(self.timeout_s) as deadline:
            try:
                response = super().send(request, *args, **options)
                # Read here, where the deadline counts; requests would do it next.
                _ = response.content
            except (RequestException, HTTPError, OSError, ValueError):
                if deadline.is_over:
                    raise ReadTimeout("the answer took too long", request=request) from None
                raise
            if deadline.is_over:
                # An answer without a length looks whole where it was cut off.
                raise ReadTimeout("the answer took too long", request=request)
            return response


class HardenedClient:
    """One alpaca-py client, hardened; `secrets` are the texts that must never be repeated to anyone.

    pace: waits before every call, and hears what each answer says of the broker's count.
    """

    def __init__(self, client: RESTClient, timeout_s: float, secrets: tuple[str, ...], pace: Pace | None = None) -> None:
        self._client = client
        self._pace = pace
        self._secrets = secrets
        self._seen = threading.local()
        # The SDK repeats POSTs behind a 429 or 504, orders too.
        client._retry = 0
        session = client._session
        session.trust_env = False
        for scheme in ("https://", "http://"):
            session.mount(scheme, TimedAdapter(timeout_s))
        session.hooks["response"].append(self._note)

    def get(self, path: str, params: dict[str, str] | None = None) -> Answer:
        """One GET."""
        return self._exchange(lambda: self._client.get(path, params))

    def post(self, path: str, fields: dict[str, str]) -> Answer:
        """One POST, whatever comes back."""
        return self._exchange(lambda: self._client.post(path, fields), is_order=True)

    def delete(self, path: str) -> Answer:
        """One DELETE."""
        return self._exchange(lambda: self._client.delete(path))

    def close(self) -> None:
        """Close the connections."""
        self._client._session.close()

    def _note(self, response: Response, **_: Any) -> None:
        reset_s = seconds_to_reset(response.headers, time.time()) if response.status_code == 429 else None
        self._seen.response = (response.status_code, response.headers.get("X-Request-ID"), reset_s)
        if self._pace:
            self._pace.heard(response.status_code, response.headers)

    def _exchange(self, call: Callable[[], Any], is_order: bool = False) -> Answer:
        if self._pace:
            self._pace.take(is_order)
        self._seen.response = (None, None, None)
        body: Any = None
        problem = ""
        try:
            body = call()
        except APIError as error:
            body = _json_or_none(str(error))
            problem = "refused"
        except Timeout:
            problem = "timeout"
        except (ValueError, RecursionError):
            # requests' JSONDecodeError is both a ValueError and a RequestException, so this clause comes first.
            problem = "an answer that is not JSON" if self._seen.response[0] else "a request that cannot be sent"
        except (RequestException, HTTPError, OSError) as error:
            problem = f"connection failed ({type(error).__name__})"
        status, request_id, reset_s = self._seen.response
        if problem == "refused":
            problem = f"HTTP {status}"
        elif not problem and not 200 <= (status or 0) < 300:
            problem = f"HTTP {status}, a redirection"
        return Answer(status, self._cleaned(body), self._cleaned(request_id), problem, reset_s)

    def _cleaned(self, value: Any) -> Any:
        """`value` without our keys, should a server echo them."""
        if isinstance(value, str):
            for secret in self._secrets:
                value = value.replace(secret, "***")
            return value
        if isinstance(value, dict) and "message" in value:
            return {**value, "message": self._cleaned(value["message"])}
        return value


def _json_or_none(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
