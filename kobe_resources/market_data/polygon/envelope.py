"""Polygon's answers, whole or not at all: the envelope around the rows, and what only bars have."""

from __future__ import annotations

from typing import Any

import orjson

from kobe_resources.market_data.over_network import RESUMES
from kobe_resources.market_data.polygon.errors import (
    PolygonEntitlementError,
    PolygonIncomplete,
    PolygonMalformed,
    vendor_words,
)

Row = dict[str, Any]


def read_envelope(body: bytes, where: str, key: str) -> Row:
    """The answer as a dict whose status is good and whose rows are all there. Raises PolygonMalformed, PolygonIncomplete."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise PolygonMalformed(f"Polygon answered with something that is not JSON for {where}", RESUMES) from None
    if not isinstance(answer, dict):
        raise PolygonMalformed(f"Polygon answered without an envelope for {where}", RESUMES)
    status = answer.get("status")
    if status not in ("OK", "DELAYED"):
        said = vendor_words(body).replace(key, "***") or f"status {status!r}"[:60]
        if status == "NOT_AUTHORIZED":
            raise PolygonEntitlementError(f"the Polygon plan does not cover {where} ({said})", "get a plan that covers it")
        raise PolygonMalformed(f"Polygon answered with an error inside a 200 for {where} ({said})", RESUMES)
    rows = answer.get("results")
    announced = answer.get("resultsCount", answer.get("count"))
    if rows is None and announced != 0:
        raise PolygonIncomplete(f"Polygon answered without rows for {where}", RESUMES)
    if rows is not None and not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
        raise PolygonMalformed(f"Polygon answered with rows that are no rows for {where}", RESUMES)
    if announced is not None and announced != len(rows or ()):
        raise PolygonIncomplete(f"Polygon announced {announced} rows and sent {len(rows or ())} for {where}", RESUMES)
    return answer


def check_bars(answer: Row, symbol: str | None) -> None:
    """What only bars have: a count, raw prices, and the ticker that was asked for."""
    where = f"the bars of {symbol}" if symbol else "a day of the market"
    if type(answer.get("resultsCount")) is not int:
        raise PolygonMalformed(f"Polygon answered without resultsCount for {where}", RESUMES)
    if answer.get("adjusted", False) is not False:
        raise PolygonMalformed(f"Polygon sent adjusted prices where raw ones were asked for: {where}", RESUMES)
    if symbol is not None and answer.get("ticker", symbol) != symbol:
        raise PolygonMalformed(f"Polygon sent another symbol as {where}", RESUMES)
