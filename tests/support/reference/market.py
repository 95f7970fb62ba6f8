"""Rules section 1: raw bars and splits become adjusted bars per listing, and the session list.

A market is {"sessions": [date, ...], "bars": {listing: [bar, ...]}}; a bar is a dict of session, open, high, low, close, volume
(adjusted) and factor. A listing is called as its symbol, a later one of the symbol `SYMBOL#2` and so on (see `symbol_of`).
It trusts its caller for unique (symbol, session) and valid prices.

Readings
- The session list counts the bars of every stored symbol, selected or not.
- "As traded" is adjusted / factor, recomputed, and not the stored raw price (they may differ in the last bit).
- Two splits of one symbol on one day both count.
- A split that takes effect while its symbol is away belongs to the listing before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

PRICES = ("open", "high", "low", "close")
MOST_MISSED = 10
Bar = dict[str, Any]
Market = dict[str, Any]


def build_market(raw_bars: list[Bar], splits: list[Bar], dividends: Sequence[Bar] = ()) -> Market:
    """Adjust raw bars (symbol, session, prices, volume) by splits (symbol, execution_date, split_from, split_to).

    dividends: symbol, ex_date, amount; each bar holds those since its symbol's bar before, dollars a share as traded.
    """
    sessions = sorted({bar["session"] for bar in raw_bars})
    listings = listings_of(raw_bars, sessions)
    bars: dict[str, list[Bar]] = {}
    for listing, own_bars in listings.items():
        symbol = symbol_of(listing)
        later = [own[0]["session"] for name, own in listings.items() if symbol_of(name) == symbol]
        ends = min((day for day in later if day > own_bars[-1]["session"]), default=None)
        mine = [
            split
            for split in sorted(splits, key=lambda split: (split["execution_date"], split["split_from"], split["split_to"]))
            if split["symbol"] == symbol
            and split["execution_date"] <= sessions[-1]
            and (ends is None or split["execution_date"] < ends)
        ]
        theirs = [paid for paid in dividends if paid["symbol"] == symbol]
        before = own_bars[0]["session"]
        for raw in own_bars:
            factor = 1.0
            for split in mine:
                if raw["session"] < split["execution_date"]:
                    factor *= split["split_from"] / split["split_to"]
            bar = {"session": raw["session"], "factor": factor, "volume": raw["volume"] / factor}
            for name in PRICES:
                bar[name] = raw[name] * factor
            bar["dividend"] = sum(paid["amount"] for paid in theirs if before < paid["ex_date"] <= raw["session"])
            before = raw["session"]
            bars.setdefault(listing, []).append(bar)
    return {"sessions": sessions, "bars": bars}


def listings_of(raw_bars: list[Bar], sessions: list[Any]) -> dict[str, list[Bar]]:
    """The bars of each listing in order: more than MOST_MISSED sessions between two bars of a symbol begin another."""
    place = {session: index for index, session in enumerate(sessions)}
    listings: dict[str, list[Bar]] = {}
    held: dict[str, str] = {}
    for raw in sorted(raw_bars, key=lambda bar: (bar["symbol"], bar["session"])):
        symbol = raw["symbol"]
        listing = held.setdefault(symbol, symbol)
        if listing in listings:
            missed = place[raw["session"]] - place[listings[listing][-1]["session"]] - 1
            if missed > MOST_MISSED:
                number = 1 + sum(symbol_of(name) == symbol for name in listings)
                listing = held[symbol] = f"{symbol}#{number}"
        listings.setdefault(listing, []).append(raw)
    return listings


def symbol_of(listing: str) -> str:
    """The symbol under which a listing trades."""
    return listing.partition("#")[0]
