"""The page's packed blocks undone in Python, apart from the code that packs and from the script that unpacks."""

from __future__ import annotations

import base64
import gzip
import html
import itertools
import json
import re
import struct
from typing import Any


def script_of(page: str, attribute: str) -> str:
    """The text of the page's script element with `attribute`."""
    found = re.search(rf"<script[^>]*{re.escape(attribute)}[^>]*>(.*?)</script>", page, re.DOTALL)
    assert found, attribute
    return found[1]


def payload_of(page: str) -> dict[str, Any]:
    """What the page's charts are drawn from."""
    return dict(json.loads(unpacked(script_of(page, 'id="payload"'))))


def unpacked(text: str) -> bytes:
    """The bytes that were packed."""
    return gzip.decompress(base64.b85decode(text.replace(",", "<")))


def header_of(data: bytes) -> tuple[dict[str, Any], bytes]:
    """A block's header, and the bytes of its columns."""
    (length,) = struct.unpack_from("<I", data)
    return json.loads(data[4 : 4 + length]), data[4 + length :]


def columns_of(data: bytes, count: int, rows: int) -> list[list[int | None]]:
    """The first `count` columns of a block, all of as many rows."""
    _, planes = header_of(data)
    return [column(planes[4 * rows * i :], rows) for i in range(count)]


def column(planes: bytes, rows: int) -> list[int | None]:
    """The whole numbers of one column."""
    folded = [int.from_bytes(planes[i : 4 * rows : rows], "little") for i in range(rows)]
    return [None if one == 0 else (one - 1) // 2 if one % 2 else -one // 2 for one in folded]


def trades_of(page: str, book: str) -> list[dict[str, Any]]:
    """The trades of a book that the page carries."""
    data = unpacked(script_of(page, f'data-trades="{html.escape(book)}"'))
    header, _ = header_of(data)
    names, rows = header["columns"], header["rows"]
    packed = dict(zip(names, columns_of(data, len(names), rows), strict=True))
    for name in ("fold", "entry"):
        packed[name] = list(itertools.accumulate(packed[name]))
    return [_trade(header, {name: packed[name][i] for name in names}) for i in range(rows)]


def _trade(header: dict[str, Any], one: dict[str, Any]) -> dict[str, Any]:
    unit = 10_000 if one["entry_price"] % 2 else 100
    at = one["entry_price"] // 2
    prices = {name: None if one[name] is None else (at + one[name]) / unit for name in ("exit_price", "stop")}
    ratios = {name: None if one[name] is None else one[name] / 100 for name in ("r", "mae", "mfe")}
    money = {name: one[name] / header["small"] for name in ("fees", "dividends")} | {"pnl": one["pnl"] / header["money"]}
    return {
        **one, **prices, **ratios, **money, "entry_price": at / unit, "qty": one["qty"] / header["pieces"],
        "shares": (one["qty"] + one["shares"]) / header["pieces"],
        "symbol": header["symbols"][one["symbol"]], "entered_by": header["strategies"][one["by"]],
        "exit_reason": header["reasons"][one["reason"]], "side": "short" if one["short"] else "long",
        "signal": one["entry"] - one["signal"], "exit": one["entry"] + one["exit"],
    }  # fmt: skip
