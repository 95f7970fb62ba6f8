"""Alerts: a message to every address of `[alerts]`, through Apprise, and to the webhook of `[trading]`.

A message is sent at most once a day to an address: what may have arrived is not repeated, what surely did not is tried again,
and all of it ends with the deadline. Nothing here raises for want of delivery, and no address is ever shown: neither in the
log, nor in the record of what was sent, nor in a reason. Trusts its caller for the facts, which are redacted all the same.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from kobe_resources.calendar import NEW_YORK
from kobe_resources.errors import KobeError, UsageError
from kobe_resources.runtime.atomic_files import private_folder, write_whole
from kobe_resources.runtime.event_log import get_logger, hide, redact
from kobe_resources.settings.load import kobe_home
from kobe_resources.settings.models import AlertKind, Settings
from kobe_resources.settings.secrets import address_parts, alert_addresses

DEADLINE_S = 30.0
"""All addresses and all attempts together."""
PAUSES_S = (1.0, 3.0, 8.0)
WEBHOOK_TIMEOUT_S = 10.0
LOCK_WAIT_S = 2.0
KEPT = dt.timedelta(days=7)
MAY_HAVE_ARRIVED = re.compile(r"Read timed out|Connection aborted|RemoteDisconnected|reset by peer|Broken pipe|IncompleteRead")
"""What Apprise logs, and raises nothing of, where the service may have taken the message before the connection ended."""
WEBHOOK = "webhook"
log = get_logger("alerts")


@dataclass(frozen=True, slots=True)
class AlertMessage:
    """A message: kinds, one line of what happened, facts and text beneath.

    key: what makes it the same as another one. is_good: it tells of the end of what its kind warns of.
    """

    kinds: frozenset[AlertKind]
    what: str
    facts: dict[str, Any] = field(default_factory=dict)
    key: str = ""
    text: str = ""
    is_good: bool = False

    @property
    def identity(self) -> str:
        """Equal for messages that repeat on one day in New York, whichever run or process sends them."""
        today = dt.datetime.now(NEW_YORK).date().isoformat()
        content = self.key or json.dumps([self.what, redact({k: v for k, v in self.facts.items() if k != "run"})], default=str)
        return hashlib.sha256(f"{today}|{content}".encode()).hexdigest()[:24]

    @property
    def title(self) -> str:
        """What happened, without secrets: a person's reason may hold one."""
        return str(redact(self.what))

    @property
    def body(self) -> str:
        """The facts, a line each, then the text, without secrets."""
        plain = {name: value for name, value in self.facts.items() if value not in (None, "")}
        lines = [_line(name, value) for name, value in redact(plain).items()]
        return "\n".join([*lines, *([str(redact(self.text))] if self.text else [])])


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a message at one address, which is named by its place and its service alone.

    may_have_arrived: it was not taken for sure, nor for sure not: to send it again could tell it twice.
    """

    address: str
    taken: bool
    reason: str
    may_have_arrived: bool = False


@dataclass(frozen=True, slots=True)
class _Target:
    """One address: its name for people, the mark that the record knows it by, and how a message is sent there.

    send: gives "" where it was taken, else why not; raises `_MayHaveArrived` where it may have arrived.
    """

    name: str
    mark: str
    send: Callable[[AlertMessage], str]


class _MayHaveArrived(Exception):
    """The service took the connection, and did not say whether it took the message."""


def send_alert(settings: Settings, message: AlertMessage, deadline_s: float = DEADLINE_S) -> bool:
    """Send `message` where it is wished for and was not sent yet; False where an address did not take it."""
    try:
        targets = _targets(settings, message)
    except KobeError as error:
        log.error("the alert could not be delivered", reason=str(error))
        return False
    claimed = _claim(message, targets)
    found = _send_to_all(message, claimed, deadline_s)
    _let_go(message, [target for target, done in zip(claimed, found, strict=True) if _may_go_again(done)])
    for done in found:
        if not done.taken:
            log.error("the alert could not be delivered", address=done.address, reason=done.reason)
    return all(done.taken for done in found)


def send_test(settings: Settings, deadline_s: float = DEADLINE_S) -> list[Delivery]:
    """Send a test message to every address, whatever was sent before. Raises UsageError where there is none."""
    what = "a test message from Kobe"
    message = AlertMessage(frozenset({"run"}), what, {"on": ", ".join(settings.alerts.on), "at": _now()})
    targets = [*_apprise_targets(settings), *_webhook_target(settings)]
    if not targets:
        raise UsageError("no address is set to send alerts to", "write one into [alerts] urls, or into KOBE_ALERTS__URLS")
    return _send_to_all(message, targets, deadline_s)


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def _line(name: str, value: Any) -> str:
    text = ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)
    return f"{name}: {text}"


def _targets(settings: Settings, message: AlertMessage) -> list[_Target]:
    wanted = _apprise_targets(settings) if message.kinds & set(settings.alerts.on) else []
    hooks = _webhook_target(settings) if message.kinds & {"failed", "halted"} else []
    return [*wanted, *hooks]


def _apprise_targets(settings: Settings) -> list[_Target]:
    found = []
    for place, url in enumerate(alert_addresses(settings), start=1):
        for part in address_parts(url):
            hide(part)
        found.append(_Target(f"address {place} ({_service_of(url)})", _mark(url), _sender(url)))
    return found


def _webhook_target(settings: Settings) -> list[_Target]:
    url = settings.trading.alert_webhook
    return [_Target(WEBHOOK, _mark(url), lambda message: _post(url, message))] if url else []


def _service_of(url: str) -> str:
    scheme = url.partition("://")[0]
    return scheme if "://" in url and re.fullmatch(r"[a-z][a-z0-9+-]{0,20}", scheme) else "no address"


def _mark(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def _send_to_all(message: AlertMessage, targets: list[_Target], deadline_s: float) -> list[Delivery]:
    """One thread an address, so that one that hangs holds up no other, nor the caller beyond the deadline."""
    deadline = time.monotonic() + deadline_s
    done: dict[str, Delivery] = {}

    def work(target: _Target) -> None:
        done[target.name] = _try(message, target, deadline)

    threads = [threading.Thread(target=work, args=(target,), name="alert", daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = f"no answer in {deadline_s:g} s: it may have arrived"
    return [done.get(target.name) or Delivery(target.name, False, late, may_have_arrived=True) for target in targets]


def _try(message: AlertMessage, target: _Target, deadline: float) -> Delivery:
    reason = ""
    for pause in (0.0, *PAUSES_S):
        if pause and time.monotonic() + pause >= deadline:
            break
        time.sleep(pause)
        try:
            reason = target.send(message)
        except _MayHaveArrived:
            why = "the connection ended without an answer: it may have arrived"
            return Delivery(target.name, False, why, may_have_arrived=True)
        except Exception as error:  # noqa: BLE001  whatever breaks in one of a hundred services must not fail a run
            # Its text may hold the address.
            reason = type(error).__name__
        if not reason:
            return Delivery(target.name, True, "taken")
    return Delivery(target.name, False, reason)


def _may_go_again(done: Delivery) -> bool:
    return not done.taken and not done.may_have_arrived


def _sender(url: str) -> Callable[[AlertMessage], str]:
    def send(message: AlertMessage) -> str:
        import apprise

        asset = apprise.AppriseAsset(app_id="Kobe", app_desc="Kobe", app_url="", secure_logging=True)
        with _apprise_lines() as lines:
            service: Any = apprise.Apprise.instantiate(url, asset=asset)
            if service is None:
                return "Apprise cannot read it: see its list of services"
            is_bad = bool(message.kinds & {"failed", "halted", "kill", "unprotected", "difference"}) and not message.is_good
            good = apprise.NotifyType.SUCCESS if message.is_good else apprise.NotifyType.INFO
            kind = apprise.NotifyType.FAILURE if is_bad else good
            if service.notify(body=message.body or message.title, title=f"Kobe: {message.title}", notify_type=kind):
                return ""
            if any(MAY_HAVE_ARRIVED.search(line) for line in lines):
                raise _MayHaveArrived
        return "the service did not take it"

    return send


@contextlib.contextmanager
def _apprise_lines() -> Iterator[list[str]]:
    """What Apprise says in this thread meanwhile; it names addresses, so it reaches no log."""
    lines: list[str] = []
    thread = threading.get_ident()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread:
                lines.append(record.getMessage())

    logger, listener = logging.getLogger("apprise"), Listener(logging.DEBUG)
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    logger.addHandler(listener)
    try:
        yield lines
    finally:
        logger.removeHandler(listener)


def _post(url: str, message: AlertMessage) -> str:
    import requests
    from urllib3.exceptions import ProtocolError

    body = {"text": f"kobe: {message.title}", **redact(message.facts)}
    try:
        with requests.Session() as session:
            answer = session.post(url, json=body, timeout=WEBHOOK_TIMEOUT_S, allow_redirects=False)
    except requests.RequestException as error:
        is_cut_off = isinstance(error, requests.ConnectionError) and isinstance(next(iter(error.args), None), ProtocolError)
        if is_cut_off or isinstance(error, requests.ReadTimeout | requests.exceptions.ChunkedEncodingError):
            raise _MayHaveArrived from None
        return type(error).__name__
    # What is redirected is not taken: nobody follows it.
    return "" if answer.status_code < 300 else f"it answered {answer.status_code}"


def _claim(message: AlertMessage, targets: list[_Target]) -> list[_Target]:
    """The targets that this message was not sent to, written down before it is sent, so that a killed process repeats nothing.

    A record that cannot be kept holds no alert back.
    """
    if not targets:
        return []
    try:
        with _record() as sent:
            known = sent.setdefault(message.identity, {"at": _now(), "to": []})["to"]
            free = [target for target in targets if target.mark not in known]
            known += [target.mark for target in free]
        return free
    except (OSError, Timeout, KobeError) as error:
        log.warning("what was sent cannot be kept", reason=str(error))
        return targets


def _let_go(message: AlertMessage, targets: Iterable[_Target]) -> None:
    """Remove the record of a message that surely did not arrive, so that the next equal one is sent."""
    marks = {target.mark for target in targets}
    if not marks:
        return
    with contextlib.suppress(OSError, Timeout, KobeError), _record() as sent:
        entry = sent.get(message.identity, {"to": []})
        entry["to"] = [mark for mark in entry["to"] if mark not in marks]


@contextlib.contextmanager
def _record() -> Iterator[dict[str, Any]]:
    """The messages of the last days, by identity, with the addresses that took them; written back at the end of the block."""
    path = _record_path()
    private_folder(path.parent)
    with FileLock(path.with_suffix(".lock"), timeout=LOCK_WAIT_S, mode=0o600):
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            stored = {}
        oldest = (dt.datetime.now(dt.UTC) - KEPT).isoformat()
        kept = {key: entry for key, entry in stored.items() if isinstance(entry, dict) and entry.get("at", "") >= oldest}
        yield kept
        write_whole(path, json.dumps(kept).encode())


def _record_path() -> Path:
    return kobe_home() / "logs" / "alerts.json"
