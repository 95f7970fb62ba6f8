"""Alerts of a trading run: what failed, what was halted, and a line for a run that went well.

An alert that cannot be delivered is itself logged and raises nothing: it must not hide the event itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kobe_resources.alerts import AlertMessage, send_alert
from kobe_resources.errors import KobeError
from kobe_resources.order_ledger import OrderLedger
from kobe_resources.runtime.event_log import get_logger
from kobe_resources.settings.models import AlertKind, Settings
from kobe_resources.settings.secrets import alert_addresses

if TYPE_CHECKING:
    from kobe_jobs.trading.reconcile.difference import Difference
    from kobe_jobs.trading.reporting.summary import RunSummary

log = get_logger("alerts")


def alert(
    settings: Settings, what: str, kinds: Iterable[AlertKind] = ("failed",), key: str = "", is_good: bool = False, **facts: Any
) -> bool:
    """Log and alert that `what` happened; False where an address is set and did not take it. Nothing secret leaves.

    is_good: it is the end of what the kinds warn of.
    """
    log.error(what, **facts)
    return send_alert(settings, AlertMessage(frozenset(kinds), what, facts, key, is_good=is_good))


def alert_of_run(settings: Settings, summary: RunSummary) -> bool:
    """Alert of a run: why it is not complete, or in one line what it did, its notes beneath; an outcome of a session once."""
    where = f"{summary.strategy} on {summary.session}, stage {summary.stage}"
    if summary.is_clean:
        # A run before the open and the one after it have each something to tell.
        did = f"nothing was traded: {summary.untraded}" if summary.untraded else run_line(summary)
        key = f"run|{summary.account}|{summary.session}|{did}"
        return send_alert(settings, AlertMessage(frozenset({"run"}), where, key=key, text="\n".join((did, *summary.notes))))
    kinds: set[AlertKind] = {"halted"}
    if summary.unprotected or summary.orphans:
        kinds.add("unprotected")
    if summary.differences:
        kinds.add("difference")
    facts: dict[str, Any] = {
        "reason": summary.halted, "without a stop": list(summary.unprotected), "stop without a position": list(summary.orphans),
        "session": str(summary.session), "stage": summary.stage, "did": run_line(summary),
    }  # fmt: skip
    given = {name: value for name, value in facts.items() if value}
    key = f"halted|{summary.account}|{summary.session}|{summary.halted}|{summary.unprotected}|{summary.orphans}"
    return alert(settings, "a trading run was halted", kinds, key, **given)


def alert_of_differences(settings: Settings, account: str, differences: Iterable[Difference]) -> bool:
    """Alert of what halts because ledger and broker differ on it; once a day, whatever the two say by then."""
    rows = sorted((row for row in differences if row.halts), key=lambda row: (row.kind, row.what))
    if not rows:
        return True
    lines = [f"{row.kind} {row.what}: ledger {row.ledger}, broker {row.broker}" for row in rows]
    facts: dict[str, Any] = {"account": account, "differences": lines, "mend": "`kobe reconcile` shows both sides"}
    key = f"difference|{account}|{[(row.kind, row.what) for row in rows]}"
    return alert(settings, "ledger and broker differ", ("difference",), key, **facts)


def run_line(summary: RunSummary) -> str:
    """What a run did, in one line."""
    refused = sum(summary.refused.values())
    parts = [
        f"{summary.signals} {'signal' if summary.signals == 1 else 'signals'}",
        f"{refused} refused" if refused else "",
        f"{summary.submitted + summary.would_send} {'would be sent' if summary.would_send else 'sent'}",
    ]
    parts += [
        f"{summary.working} waiting" if summary.working else "",
        f"{summary.filled} filled",
        f"{summary.exits_filled} left" if summary.exits_filled else "",
    ]
    stops = "1 stop stands" if summary.stops == 1 else f"{summary.stops} stops stand"
    return ", ".join(filter(None, parts)) + f"; ${float(summary.budget_used):,.2f} of the budget used, {stops}"


def alert_if_healed(settings: Settings, ledger: OrderLedger) -> str:
    """Alert where audit.jsonl had been cut and was completed again; what happened, empty where nothing did."""
    if ledger.healed:
        alert(settings, "audit.jsonl had been cut", reason=ledger.healed, mend="see who or what did it: `kobe audit verify`")
    return ledger.healed


def alert_of_next_orders(settings: Settings) -> bool:
    """Send the evening's orders where `[alerts] on` asks for them, once a session; a failure to know them is logged."""
    if "orders" not in settings.alerts.on or not alert_addresses(settings):
        return True
    from kobe_jobs.trading.on_record import ledger_to_look_at, warehouse_to_look_at
    from kobe_jobs.trading.tomorrow import orders_of_tomorrow

    try:
        with ledger_to_look_at() as ledger:
            found = orders_of_tomorrow(settings, ledger, warehouse_to_look_at())
    except KobeError as error:
        log.warning("the evening's orders cannot be told", reason=str(error))
        return False
    entering, leaving = len(found.entries), len(found.exits)
    orders, exits = "order" if entering == 1 else "orders", "exit" if leaving == 1 else "exits"
    what = f"{entering} {orders} and {leaving} {exits} on {found.session}, stage {found.stage}"
    key, text = f"orders|{found.stage}|{found.session}", "\n".join(found.lines())
    return send_alert(settings, AlertMessage(frozenset({"orders"}), what, key=key, text=text))
