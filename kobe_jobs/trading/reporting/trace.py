"""Trace: from an order, a live position or a simulated trade back to everything it stood on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from kobe_jobs.trading.market_snapshot import sql
from kobe_jobs.trading.reporting.trace_prose import prose_of_order, prose_of_simulated
from kobe_resources.errors import KobeError
from kobe_resources.order_ledger import LedgerOrder, OrderLedger, Position
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.audit_rows import ROWS
from kobe_resources.order_ledger.positions import position
from kobe_resources.order_ledger.sessions import last_claimed
from kobe_resources.warehouse.store import Warehouse

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Mapping

    from kobe_assets.research.strategies import Strategy

SIMULATED = "sim"


class NothingToTrace(KobeError):
    """No order, position or trade has this id."""


SHOWN_OF_SYMBOL = 5


@dataclass(frozen=True)
class Trace:
    """What was found: in words, and section by section as plain values."""

    id: str
    kind: str
    sections: dict[str, Any]
    in_words: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """One object."""
        return {"id": self.id, "kind": self.kind, "in_words": list(self.in_words), **self.sections}


def trace(ledger: OrderLedger, warehouse: Warehouse, wanted: str, strategies: Mapping[str, Strategy] | None = None) -> Trace:
    """Trace `wanted`: an order's client or broker id (or the beginning of it), or a simulated trade.

    A simulated trade is named sim:STRATEGY:MODE:SYMBOL:ENTRY_SESSION. strategies: those that are registered, so that of the
    four usual indicators only those are told that the trade's strategy reads. Raises NothingToTrace.
    """
    if wanted.startswith(SIMULATED + ":"):
        return _trace_simulated(warehouse, wanted, strategies or {})
    order = _find(ledger, wanted)
    entry = book.find(ledger, order.position_id) if order.position_id else order
    held = position(ledger, order.position_id or order.client_order_id)
    origin = entry or order
    sections = {
        "order": _order(order),
        "position": None if held is None else _position(held),
        "orders of the position": [_order(other) for other in book.of_position(ledger, origin.client_order_id)],
        "fills": _fills(ledger, origin.client_order_id),
        "decision": origin.decision,
        "gate": {"state": str(origin.state), "reason": origin.reason or "accepted", "detail": origin.detail},
        **_rows_behind(warehouse, origin.symbol, origin.signal_session, origin.strategy),
        "versions at the decision": _sources_record(ledger, origin.run_id),
        "config_pin": origin.config_pin,
        "settings": _settings(ledger, origin.config_pin),
        "runs": sorted({order.run_id, origin.run_id} - {""}),
        "audit": _audit(ledger, {origin.client_order_id, order.client_order_id}),
    }  # fmt: skip
    opened = warehouse.rows("SELECT open FROM daily_bars WHERE symbol = ? AND session = ?", [origin.symbol, origin.session])
    bars = 0 if held is None else _bars_held(ledger, warehouse, held, origin.account)
    orders = book.of_position(ledger, origin.client_order_id)
    declared = _declared(strategies or {}, origin.strategy)
    words = prose_of_order(origin, held, orders, opened[0][0] if opened else None, bars, declared)
    return Trace(order.client_order_id, order.purpose, sections, tuple(words))


def _bars_held(ledger: OrderLedger, warehouse: Warehouse, held: Position, account: str) -> int:
    """Bars that an open position has seen by the close of the account's last session; a run counts that one the day after."""
    if not held.is_open:
        return held.bars_held
    last = last_claimed(ledger, account)
    seen = warehouse.rows(
        "SELECT count(*) FROM daily_bars WHERE symbol = ? AND session BETWEEN ? AND ?",
        [held.symbol, held.entry_session, last or held.entry_session],
    )
    return max(held.bars_held, int(seen[0][0]))


def _find(ledger: OrderLedger, wanted: str) -> LedgerOrder:
    rows = ledger.rows(
        "SELECT client_order_id FROM intents WHERE client_order_id = ?1 OR broker_order_id = ?1"
        " OR substr(client_order_id, 1, length(?1)) = ?1 LIMIT 3",
        (wanted,),
    ) if len(wanted) >= 8 else []  # fmt: skip
    if not rows:
        if named := _of_symbol(ledger, wanted.upper()):
            raise NothingToTrace(
                f"{wanted.upper()} is a symbol: its latest orders are {', '.join(named)}",
                f"`kobe trace {named[0]}` explains the first of them",
            )
        raise NothingToTrace(
            f"no order has the id {wanted!r}",
            "`kobe trace` lists the latest orders; a simulated trade is sim:STRATEGY:MODE:SYMBOL:ENTRY_SESSION",
        )
    if len(rows) > 1:
        raise NothingToTrace(f"several orders begin with {wanted!r}", "give more of the id")
    return book.get(ledger, rows[0]["client_order_id"])


def _of_symbol(ledger: OrderLedger, symbol: str) -> list[str]:
    """The latest orders of a symbol, newest first."""
    sql = "SELECT client_order_id FROM intents WHERE symbol = ? ORDER BY rowid DESC LIMIT ?"
    return [str(row["client_order_id"]) for row in ledger.rows(sql, (symbol, SHOWN_OF_SYMBOL))]


def _declared(strategies: Mapping[str, Strategy], name: str) -> Collection[str] | None:
    """The names of the indicators that a strategy declares; None where there is no such strategy (any more)."""
    return strategies[name].indicators.keys() if name in strategies else None


def _trace_simulated(warehouse: Warehouse, wanted: str, strategies: Mapping[str, Strategy]) -> Trace:
    parts = wanted.split(":")
    if len(parts) != 5:
        raise NothingToTrace(f"{wanted!r} names no simulated trade", "write sim:STRATEGY:MODE:SYMBOL:ENTRY_SESSION")
    _, strategy, mode, symbol, session = parts
    found = warehouse.frame(
        "SELECT * FROM wf_trades WHERE strategy = ? AND mode = ? AND symbol = ? AND CAST(entry_session AS VARCHAR) = ?",
        [strategy, mode, symbol, session],
    )
    if found.empty:
        raise NothingToTrace(f"the folds hold no trade {wanted!r}", "see the trades of the report")
    trade = _plain_rows(found)[0]
    fold = warehouse.frame(
        "SELECT fold, params, train_start, train_end, test_start, test_end FROM wf_folds"
        " WHERE strategy = ? AND mode = ? AND fold = ?",
        [strategy, mode, trade["fold"]],
    )
    # A trade of the book of several strategies stands on the signal of the one that entered it.
    rows = _rows_behind(warehouse, symbol, found["signal_session"].iloc[0].date(), trade["entered_by"])
    declared = _declared(strategies, str(trade["entered_by"]))
    words = prose_of_simulated(trade, rows["signal"][0] if rows["signal"] else None, declared)
    return Trace(wanted, "simulated trade", {"trade": trade, "fold": _plain_rows(fold), **rows}, tuple(words))


def _rows_behind(warehouse: Warehouse, symbol: str, session: dt.date, strategy: str) -> dict[str, Any]:
    """Signal row, bars and indicators up to the signal, and which versions the tables hold now."""
    named = {"symbol": symbol, "session": session}
    with warehouse.connect() as connection:
        signal = connection.execute(sql("trace_signal"), {**named, "strategy": strategy}).df()
        found = connection.execute(sql("trace_bars"), named)
        names = [column[0] for column in found.description]
        # An indicator may bear the name of a price, which comes before it.
        labels = [f"indicator {name}" if name in names[:place] else name for place, name in enumerate(names)]
        bars = found.df().set_axis(labels, axis="columns")
        versions = connection.execute(
            "SELECT asset, data_version, code_version, config_pin, run_id, recorded_at FROM asset_versions ORDER BY asset"
        ).df()
    return {"signal": _plain_rows(signal), "bars": _plain_rows(bars), "data_versions": _plain_rows(versions)}


def _order(order: LedgerOrder) -> dict[str, Any]:
    keys = (
        "client_order_id", "broker_order_id", "account", "strategy", "session", "signal_session", "symbol", "side", "leg",
        "kind", "time_in_force", "qty", "limit_price", "stop_price", "state", "reason", "detail", "filled_qty",
        "filled_avg_price", "reserved", "spent", "posts", "run_id", "created_at", "updated_at",
    )  # fmt: skip
    return {key: _plain(getattr(order, "tag" if key == "leg" else key)) for key in keys}


def _position(held: Position) -> dict[str, Any]:
    keys = (
        "id", "symbol", "side", "entry_session", "entry_qty", "entry_price", "qty", "stop_price", "bars_held", "flag",
        "exit_session", "exit_price", "exit_reason", "is_open",
    )  # fmt: skip
    return {key: _plain(getattr(held, key)) for key in keys}


def _audit(ledger: OrderLedger, ids: set[str]) -> list[dict[str, Any]]:
    """Records of the chain that name one of the ids as their order or position."""
    rows = ledger.rows(
        "SELECT seq, time, kind, body, hash FROM audit WHERE json_extract(body, '$.order') IN (SELECT value FROM json_each(?1))"
        " OR json_extract(body, '$.position') IN (SELECT value FROM json_each(?1)) ORDER BY seq",
        (json.dumps(sorted(ids)),),
    )
    # The rows that a record changed are shown as orders, fills and positions.
    bodies = [{name: value for name, value in json.loads(row["body"]).items() if name != ROWS} for row in rows]
    return [{**dict(row), "body": body} for row, body in zip(rows, bodies, strict=True)]


def _sources_record(ledger: OrderLedger, run_id: str) -> Any:
    """Data and code versions as the run that decided put them on the chain."""
    rows = ledger.rows(
        "SELECT body FROM audit WHERE kind = 'evidence' AND json_extract(body, '$.run') = ? ORDER BY seq LIMIT 1", (run_id,)
    )
    return json.loads(rows[0]["body"]) if rows else None


def _settings(ledger: OrderLedger, pin: str) -> Any:
    """The settings behind a pin, as the chain recorded them when they came into force."""
    rows = ledger.rows(
        "SELECT body FROM audit WHERE kind = 'settings' AND json_extract(body, '$.pin') = ? ORDER BY seq DESC LIMIT 1", (pin,)
    )
    return json.loads(rows[0]["body"])["settings"] if rows else None


def _fills(ledger: OrderLedger, position_id: str) -> list[dict[str, Any]]:
    rows = ledger.rows(
        "SELECT f.* FROM fills f JOIN intents i USING (client_order_id) WHERE i.client_order_id = ?1 OR i.position_id = ?1"
        " ORDER BY f.rowid",
        (position_id,),
    )
    return [dict(row) for row in rows]


def _plain_rows(frame: Any) -> list[dict[str, Any]]:
    return [{str(key): _plain(value) for key, value in row.items()} for row in frame.to_dict(orient="records")]


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        value = value.item()
    if value is None or isinstance(value, str | int | bool):
        return value
    if isinstance(value, float):
        return value if value == value else None
    if isinstance(value, Decimal):
        return format(value, "f")
    return str(value).removesuffix(" 00:00:00")
