"""An Alpaca data host on 127.0.0.1: real HTTP/1.1 with keep-alive and gzip, one pair of keys, faults by script."""

from __future__ import annotations

import json
from email.message import Message
from typing import Any

import orjson

from tests.support.loopback_alpaca.market import AlpacaMarket, InvalidSymbol, RecentPrices
from tests.support.loopback_polygon.faults import FaultScript, Reply
from tests.support.loopback_polygon.server import LoopbackPolygon

KEY_ID, SECRET = "PKLOOPBACK2718281828", "loopback-secret-31415926535897"
JSON = {"Content-Type": "application/json"}


class LoopbackAlpaca(LoopbackPolygon):
    """Serves `market` while the `with` block runs; `calls` says what was asked.

    page_limit: rows of a page, whatever is asked for: a page may be short.
    """

    market: AlpacaMarket  # type: ignore[assignment]

    def __init__(self, market: AlpacaMarket, faults: FaultScript | None = None, page_limit: int | None = None) -> None:
        super().__init__(market, faults, f"{KEY_ID} {SECRET}")  # type: ignore[arg-type]
        self.page_limit = page_limit

    def credential(self, headers: Message) -> str:
        """Both keys."""
        return f"{headers.get('APCA-API-KEY-ID', '')} {headers.get('APCA-API-SECRET-KEY', '')}"

    def queries(self, path: str = "/v2/stocks/bars") -> list[dict[str, str]]:
        """What was asked at a path, call by call."""
        from urllib.parse import parse_qsl

        return [dict(parse_qsl(call.query)) for call in self.calls if call.path == path]

    def asked(self, honest: bool = False) -> list[str]:
        """The symbols whose bars were asked for, first pages only."""
        from urllib.parse import parse_qsl

        calls = [call for call in self.calls if call.path == "/v2/stocks/bars" and (call.honest or not honest)]
        found = [dict(parse_qsl(call.query)) for call in calls]
        return [symbol for query in found if "page_token" not in query for symbol in query["symbols"].split(",")]

    def _honest(self, path: str, query: dict[str, str], authorization: str) -> Reply:
        if authorization != self.key:
            return saying(401, message="unauthorized.")
        if self.page_limit:
            query = {**query, "limit": str(min(self.page_limit, int(query.get("limit", self.page_limit))))}
        try:
            if path == "/v2/stocks/bars":
                return Reply(200, self.market.bars_body(query), JSON)
            if path == "/v1/corporate-actions":
                return Reply(200, self.market.actions_body(query), JSON)
            if path == "/v2/assets":
                return Reply(200, orjson.dumps(self.market.assets), JSON)
        except InvalidSymbol as error:
            return saying(400, message=f"invalid symbol: {error}")
        except RecentPrices:
            return saying(403, code=42210000, message="subscription does not permit querying recent SIP data")
        return saying(404, message="Not Found")


def saying(status: int, **body: Any) -> Reply:
    """An error as Alpaca words it."""
    return Reply(status, json.dumps(body).encode(), JSON)
