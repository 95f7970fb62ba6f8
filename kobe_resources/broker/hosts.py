"""Which host belongs to which stage: a live host with another stage, or another host with `live`, is refused.

Trusts its caller for nothing: every URL is taken apart here.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from kobe_resources.errors import UsageError
from kobe_resources.settings.models import BrokerSettings

Stage = Literal["shadow", "simulated", "paper", "live"]

LIVE_URL = "https://api.alpaca.markets"
PAPER_URL = "https://paper-api.alpaca.markets"
DATA_URL = "https://data.alpaca.markets"


@dataclass(frozen=True, slots=True)
class Hosts:
    """Where orders and questions go (no `/v2`, no slash at the end), and whether that is the live host."""

    trading_url: str
    data_url: str
    is_live: bool


def hosts_of(stage: Stage, broker: BrokerSettings) -> Hosts | None:
    """The hosts of `stage`; None where the embedded broker is to be started (simulated without a base_url).

    Raises UsageError where stage and host do not belong together.
    """
    trading = _origin(broker.base_url, "broker.base_url")
    data = _origin(broker.data_url, "broker.data_url")
    if stage == "simulated":
        for url in (trading, data):
            if url is not None and not is_loopback(url):
                raise UsageError(f"stage simulated with the host {url}", "unset broker.base_url, or name a loopback host")
        return Hosts(trading, data or trading, is_live=False) if trading else None
    own = LIVE_URL if stage == "live" else PAPER_URL
    allowed = (LIVE_URL, PAPER_URL) if stage == "shadow" else (own,)
    chosen = trading or own
    if chosen not in allowed:
        raise UsageError(f"stage {stage} with the host {chosen}", f"unset broker.base_url, or use {own}")
    if (data or DATA_URL) != DATA_URL:
        raise UsageError(f"stage {stage} with the data host {data}", f"unset broker.data_url, or use {DATA_URL}")
    return Hosts(chosen, DATA_URL, is_live=chosen == LIVE_URL)


def is_loopback(url: str) -> bool:
    """Whether `url` cannot leave this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class UrlRefusals(NamedTuple):
    """What is raised of a URL that is none, of one that is no plain host, and of one that would carry keys in the clear."""

    no_url: UsageError
    not_plain: UsageError
    in_the_clear: UsageError


def plain_url(url: str, refusals: UrlRefusals, may_have_path: bool = False) -> str:
    """`url` as scheme://host[:port], in lower case, without a default port and without a slash at the end.

    A user, a password, a query, port 0, and plain http to the outside are refused; a path too, unless it may have one.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise refusals.no_url from None
    host, path = (parts.hostname or "").rstrip("."), parts.path.rstrip("/")
    extra = parts.username or parts.password or parts.query or parts.fragment or port == 0 or (path and not may_have_path)
    if parts.scheme not in ("http", "https") or not host or extra:
        raise refusals.not_plain
    bracketed = f"[{host}]" if ":" in host else host
    default = {"https": 443, "http": 80}[parts.scheme]
    origin = f"{parts.scheme}://{bracketed}" + (f":{port}" if port and port != default else "")
    if parts.scheme == "http" and not is_loopback(origin):
        raise refusals.in_the_clear
    return origin + path


def _origin(url: str | None, setting: str) -> str | None:
    """The host that a setting names, in one spelling; None where it names none."""
    if url is None:
        return None
    hint = f"write {setting} as https://host, without a path"
    refusals = UrlRefusals(
        UsageError(f"{setting} is not a URL", hint),
        UsageError(f"{setting} is not a plain host", hint),
        UsageError(f"{setting} would send keys without encryption", hint),
    )
    return plain_url(url, refusals)
