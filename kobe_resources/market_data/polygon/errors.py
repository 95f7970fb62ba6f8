"""What can go wrong with Polygon, one class a mend, and the class of each HTTP status.

No text here ever holds the key: the client scrubs what the vendor says before it reaches an error.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import orjson

from kobe_resources.market_data.over_network import RESUMES
from kobe_resources.market_data.protocol import MarketDataError
from kobe_resources.runtime.retry_after import retry_after_s

SAMPLE_WORKS = "the sample works without a key"
LEAVE_OUT = f"{RESUMES}; leave a symbol that fails for good out of data.polygon.candidates"
NO_BARS = f"{RESUMES}; if it stays so, check data.polygon.candidates and data.start"

SHORTEN = "shorten data.start (the free plan has 2 years) or get a plan that covers it"
OTHER_THAN_BARS = {
    "/v3/reference/tickers": "name a CSV of symbols in data.polygon.candidates or get a plan that covers it",
    "/v3/": "get a plan that covers it",
}
"""How a plan that does not cover a list is mended, by the path that was asked; a shorter span helps with bars only."""


class PolygonError(MarketDataError):
    """Bars that Polygon did not give."""


class PolygonAuthError(PolygonError):
    """No key, or one that the vendor does not know; asking again cannot help."""


class PolygonEntitlementError(PolygonError):
    """The key's plan does not cover what was asked; asking again cannot help."""


class PolygonNotFound(PolygonError):
    """The vendor has nothing at this address; asking again cannot help."""


class PolygonRefused(PolygonError):
    """A request the vendor calls wrong (another 4xx); asking again cannot help."""


class PolygonRateError(PolygonError):
    """Too many calls for the plan. wait_s: seconds the vendor asked for, None where it did not say."""

    def __init__(self, what: str, hint: str = "", wait_s: float | None = None) -> None:
        super().__init__(what, hint)
        self.wait_s = wait_s


class PolygonServerError(PolygonError):
    """The vendor failed (5xx)."""


class PolygonTransportError(PolygonError):
    """No answer, or half of one: refused, reset, timed out, cut off."""


class PolygonMalformed(PolygonError):
    """An answer that is not what the vendor documents: not JSON, an error inside a 200, fields of a wrong type."""


class PolygonContradiction(PolygonMalformed):
    """Rows in a sound envelope that cannot all be true: seen only by who reads them, after the call that brought them."""


class PolygonIncomplete(PolygonError):
    """An answer that lacks rows it announced, or a load that could not finish every symbol."""


class PolygonEmpty(PolygonIncomplete):
    """An answer without rows, to be asked for again. is_session: of a day on which the exchange was open."""

    def __init__(self, what: str, is_session: bool) -> None:
        super().__init__(what, RESUMES)
        self.is_session = is_session


def error_for_status(status: int, headers: Mapping[str, str], said: str, where: str) -> PolygonError:
    """The typed error of an HTTP status other than 200.

    said: the vendor's own words, already scrubbed of the key. where: the path that was asked.
    """
    reason = f" ({said})" if said else ""
    if status == 401:
        return PolygonAuthError(
            f"Polygon does not accept the key{reason}", "check POLYGON_API_KEY against the dashboard of polygon.io"
        )
    if status == 403:
        return PolygonEntitlementError(
            f"the Polygon plan does not cover {where}{reason}",
            next((hint for path, hint in OTHER_THAN_BARS.items() if where.startswith(path)), SHORTEN),
        )
    if status == 404:
        return PolygonNotFound(f"Polygon has nothing at {where}{reason}", "check the symbol and data.polygon.base_url")
    if status == 429:
        return PolygonRateError(
            f"Polygon says too many calls{reason}",
            f"set data.polygon.calls_per_minute to the plan's rate; {RESUMES}",
            retry_after_s(headers, time.time()),
        )
    if status in (408, 425) or status >= 500:
        return PolygonServerError(f"Polygon failed with HTTP {status} at {where}{reason}", RESUMES)
    if 300 <= status < 400:
        return PolygonRefused(f"Polygon redirects {where} (HTTP {status})", "check data.polygon.base_url")
    return PolygonRefused(f"Polygon refuses {where} with HTTP {status}{reason}", "check the symbol and the settings")


def vendor_words(body: bytes) -> str:
    """The `error` or `message` of an error body, shortened to one short line; empty where there is none."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(answer, dict):
        return ""
    words = answer.get("error") or answer.get("message") or ""
    if not isinstance(words, str):
        return ""
    return "".join(letter if letter.isprintable() else " " for letter in words)[:160].strip()
