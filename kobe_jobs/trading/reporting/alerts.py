"""Alerts: a run that failed or was halted is logged, and posted to the webhook of the settings if there is one.

An alert that cannot be delivered is itself logged and raises nothing: it must not hide what it tells of.
"""

from __future__ import annotations

from typing import Any

from kobe_resources.order_ledger import OrderLedger
from kobe_resources.runtime.event_log import get_logger, redact
from kobe_resources.settings.models import Settings

TIMEOUT_S = 10.0
log = get_logger("alerts")


def alert(settings: Settings, what: str, **facts: Any) -> bool:
    """Tell that `what` happened; False where a webhook is set and did not take it. Nothing secret leaves."""
    log.error(what, **facts)
    url = settings.trading.alert_webhook
    if not url:
        return True
    import requests

    body = {"text": f"kobe: {what}", **redact(facts)}
    try:
        with requests.Session() as session:
            answer = session.post(url, json=body, timeout=TIMEOUT_S, allow_redirects=False)
            answer.raise_for_status()
    except requests.RequestException as error:
        # The address itself may be the secret.
        log.error("the alert could not be delivered", reason=type(error).__name__)
        return False
    return True


def alert_if_healed(settings: Settings, ledger: OrderLedger) -> str:
    """Alert where audit.jsonl had been cut and was completed again; what happened, empty where nothing did."""
    if ledger.healed:
        alert(settings, "audit.jsonl had been cut", reason=ledger.healed, mend="see who or what did it: `kobe audit verify`")
    return ledger.healed
