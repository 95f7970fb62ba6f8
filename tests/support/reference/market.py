"""Rules section 1: raw bars and splits become adjusted bars per symbol, and the session list.

A market is {"sessions": [date, ...], "bars": {symbol: [bar, ...]}}; a bar is a dict of session, open, high, low, close, volume
(adjusted) and factor. It trusts its caller for unique (symbol, session) and valid prices.

Readings
- The session list counts the bars of every stored symbol, selected or not.
- "As traded" is adjusted / factor, recomputed, and not the stored raw price (they may differ in the last bit).
- Two splits of one symbol on one day both count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

PRICES = ("open", "high", "low", "close")
Bar = dict[str, Any]
Market = dict[str, Any]


def build_market(raw_bars: list[Bar], splits: list[Bar], dividends: Sequence[Bar] = ()) -> Market:
    """Adjust raw bars (symbol, session, prices, volume) by splits (symbol, execution_date, split_from, split_to).

    dividends: symbol, ex_date, amount; each bar holds those since its symbol's bar before, dollars a share as traded.
    """
    sessions = sorted({bar["session"] for bar in raw_bars})
    bars: dict[str, list[Bar]] = {}
    for raw in sorted(raw_bars, key=lambda bar: (bar["symbol"], bar["session"])):
        factor = 1.0
        for split in sorted(splits, key=lambda split: (split["execution_date"], split["split_from"], split["split_to"])):
            if split["symbol"] == raw["symbol"] and raw["session"] < split["execution_date"] <= sessions[-1]:
                factor *= split["split_from"] / split["split_to"]
        bar = {"session": raw["session"], "factor": factor, "volume": raw["volume"] / factor}
        for name in PRICES:
            bar[name] = raw[name] * factor
        own = bars.setdefault(raw["symbol"], [])
        before = own[-1]["session"] if own else raw["session"]
        bar["dividend"] = sum(
            paid["amount"]
            for paid in dividends
            if paid["symbol"] == raw["symbol"] and before < paid["ex_date"] <= raw["session"]
        )
        own.append(bar)
    return {"sessions": sessions, "bars": bars}
