"""One call to Polygon over HTTP: sent once, read to the end before a deadline, and every failure a typed error."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import urllib3

from kobe_resources.market_data.over_network import RESUMES
from kobe_resources.market_data.polygon.errors import (
    PolygonMalformed,
    PolygonTransportError,
    error_for_status,
    vendor_words,
)
from kobe_resources.runtime.call_deadline import Deadline

if TYPE_CHECKING:
    from kobe_resources.market_data.over_network import RetryBudget

MAX_BODY_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class _Answer:
    """What the SDK hands through with raw=True: it looks at `status`, we read `data`."""

    status: int
    data: bytes


class TypedPool:
    """Stands where the SDK keeps its urllib3 pool: the SDK forgets the status and the headers of a failure."""

    def __init__(self, inner: urllib3.PoolManager, key: str, budget: RetryBudget) -> None:
        self.sent = 0
        self._inner = inner
        self._key = key
        self._budget = budget
        self._lock = threading.Lock()

    def request(self, method: str, url: str, fields: Any = None, headers: Mapping[str, str] | None = None) -> _Answer:
        """Send once, read to the end before the deadline. Raises a PolygonError for everything but a 200."""
        with self._lock:
            self.sent += 1
        where = urlsplit(url).path
        with Deadline(self._budget.total_s) as deadline:
            try:
                response = self._inner.request(
                    method, url, fields=fields, headers=headers, preload_content=False, retries=False, redirect=False
                )
                body = _read_all(response, where)
            except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                if deadline.is_over:
                    raise _too_slow(where) from None
                if not isinstance(error, urllib3.exceptions.HTTPError):
                    raise
                raise PolygonTransportError(
                    f"no whole answer from Polygon at {where} ({_transport_words(error)})",
                    f"check the network and data.polygon.base_url; {RESUMES}",
                ) from None
            if deadline.is_over:
                # An answer without a length looks whole where it was cut off.
                raise _too_slow(where)
        if response.status != 200:
            said = vendor_words(body).replace(self._key, "***")
            raise error_for_status(response.status, response.headers, said, where)
        return _Answer(response.status, body)

    def clear(self) -> None:
        """Close the connections."""
        self._inner.clear()


def _too_slow(where: str) -> PolygonTransportError:
    return PolygonTransportError(f"the answer at {where} drips in too slowly", RESUMES)


def _read_all(response: urllib3.BaseHTTPResponse, where: str) -> bytes:
    chunks: list[bytes] = []
    size = 0
    try:
        while chunk := response.read1(1 << 20):
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise PolygonMalformed(f"the answer at {where} is larger than any the vendor gives", RESUMES)
    except BaseException:
        response.close()
        raise
    response.release_conn()
    return b"".join(chunks)


def _transport_words(error: urllib3.exceptions.HTTPError) -> str:
    """The kind of failure without the text of the exception, which may quote what was sent."""
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "the host has no address"
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return "the connection is refused"
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        return "connecting took too long"
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return "it fell silent"
    if isinstance(error, urllib3.exceptions.SSLError):
        return "its certificate is not trusted"
    return "the connection broke"
