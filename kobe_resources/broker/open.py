"""The broker: `open_broker` gives the one of a stage, behind the protocol of `protocol.py`.

Imports nothing heavy until a broker is opened.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kobe_resources.broker.fees import fee_rates
from kobe_resources.broker.hosts import Hosts, Stage, hosts_of
from kobe_resources.broker.protocol import Broker
from kobe_resources.errors import UsageError
from kobe_resources.settings.load import kobe_home
from kobe_resources.settings.models import Settings
from kobe_resources.settings.secrets import Secrets

if TYPE_CHECKING:
    from kobe_resources.broker.exchange.account import Reset
    from kobe_resources.broker.exchange.billing import Billing
    from kobe_resources.broker.exchange.clock import Phase
    from kobe_resources.broker.exchange.embedded import EmbeddedBroker, Terms
    from kobe_resources.broker.pacing import Pace


def open_broker(settings: Settings, secrets: Secrets, stage: Stage, leave_clock: bool = False) -> Broker:
    """The broker of `stage`; close it when done.

    Stage `simulated`: the server named by broker.base_url, else one started here with its state in KOBE_HOME/broker. Stage
    `shadow`: Alpaca's paper answers where keys are set, else the embedded broker's; it sends nothing. leave_clock: leave the
    clock of a new embedded broker alone, since the caller sets it with `standing_at`; else it is set to the last stored
    session. The brokers of other stages have a real clock.
    Raises UsageError where host, keys and stage do not belong together, or an embedded account was begun otherwise.
    """
    hosts = hosts_of(stage, settings.broker)
    folder = embedded_folder(settings, secrets, stage)
    if folder is not None or hosts is None:
        return _simulated(settings, folder, leave_clock, read_only=stage == "shadow")
    if stage == "simulated":
        return _over_loopback(settings, hosts)
    return _alpaca(settings, secrets, hosts, read_only=stage == "shadow")


def embedded_folder(settings: Settings, secrets: Secrets, stage: Stage) -> Path | None:
    """Where the embedded account of `stage` is kept; None where the account is of a server that can be asked at any time.

    Raises UsageError where host and stage do not belong together.
    """
    hosts = hosts_of(stage, settings.broker)
    if stage == "simulated" and hosts is None:
        return kobe_home() / "broker"
    if stage == "shadow" and not secrets.has_alpaca_keys and settings.broker.base_url is None:
        # A state of its own: looking at a session must not move the clock of the simulated account.
        return kobe_home() / "broker-shadow"
    return None


def reset_embedded(settings: Settings, folder: Path) -> Reset:
    """Begin a fresh embedded account in `folder`, under a new number; the old state is kept beside it."""
    from kobe_resources.broker.exchange.account import reset_account
    from kobe_resources.broker.exchange.embedded import StoredBars
    from kobe_resources.market_data.store import warehouse_of

    return reset_account(folder, StoredBars.of_warehouse(warehouse_of(settings)), simulated_terms(settings))


def embedded_of(broker: Broker) -> EmbeddedBroker | None:
    """The embedded broker that `broker` speaks to; None where its clock is a real one."""
    found: EmbeddedBroker | None = getattr(broker, "embedded", None)
    return found


@contextlib.contextmanager
def standing_at(broker: Broker, session: dt.date, phase: Phase = "open") -> Iterator[None]:
    """Let an embedded broker's clock stand in `session`, at a phase of it; where the block raises, all of it is as it was.

    Later than it stands now, never earlier: raises UsageError. A broker with a real clock is left alone.
    """
    embedded = embedded_of(broker)
    with embedded.standing_at(session, phase) if embedded else contextlib.nullcontext():
        yield


def start_embedded(settings: Settings, folder: Path | None = None, key_id: str | None = None) -> EmbeddedBroker:
    """The embedded broker over the warehouse's bars, its state in `folder` (none: KOBE_HOME/broker).

    key_id: the key without which it answers nothing (none: it takes any).
    """
    from kobe_resources.broker.exchange.embedded import EmbeddedBroker, StoredBars
    from kobe_resources.market_data.store import warehouse_of

    terms = replace(simulated_terms(settings), key_id=key_id)
    return EmbeddedBroker(folder or kobe_home() / "broker", StoredBars.of_warehouse(warehouse_of(settings)), terms)


def connect_embedded(settings: Settings, embedded: EmbeddedBroker, read_only: bool = False) -> Broker:
    """A broker connected to a running embedded one, which it closes when closed. read_only: it sends nothing."""
    from kobe_resources.broker.exchange.simulated import SimulatedBroker

    hosts = Hosts(embedded.url, embedded.url, is_live=False)
    return SimulatedBroker(embedded, hosts, settings.broker.timeout_s, read_only)


def embedded_terms(settings: Settings) -> Terms:
    """How the embedded broker trades so that its fills are the simulation's, to the bit: a replay's."""
    from kobe_resources.broker.exchange.embedded import EXACT, Terms

    return Terms(
        initial_cash=settings.simulation.initial_cash,
        slippage_bps=settings.costs.slippage_bps,
        fractional=not settings.sizing.whole_shares,
        vendor=settings.data.vendor,
        strictness=EXACT,
        billing=billing_of(settings),
    )


def simulated_terms(settings: Settings) -> Terms:
    """How it trades in the stages `simulated` and `shadow`: as strict as Alpaca where that takes nothing from the person.

    A new state is an account of its own number, so that the ledger never takes it for one that was there before.
    """
    from kobe_resources.broker.exchange.embedded import SIMULATED

    return replace(embedded_terms(settings), account_number=f"PA{uuid.uuid4().hex[:10].upper()}", strictness=SIMULATED)


def billing_of(settings: Settings) -> Billing:
    """The price list of [costs]."""
    from kobe_resources.broker.exchange.billing import Billing

    costs = settings.costs
    rates = fee_rates() if costs.regulatory_fees else ()
    return Billing(
        costs.commission_per_order, costs.commission_per_share, costs.commission_minimum, costs.borrow_rate, rates
    )  # fmt: skip


def _simulated(settings: Settings, folder: Path | None, leave_clock: bool, read_only: bool) -> Broker:
    from kobe_resources.broker.exchange.account import follow_settings

    # A key of this run alone, so that no other process of this machine moves its clock.
    embedded = start_embedded(settings, folder, uuid.uuid4().hex)
    try:
        follow_settings(embedded)
        if not leave_clock and embedded.is_fresh:
            embedded.advance_to(embedded.book.market.bars.last_session, "open")
    except BaseException:
        embedded.close()
        raise
    return connect_embedded(settings, embedded, read_only)


def _over_loopback(settings: Settings, hosts: Hosts) -> Broker:
    from kobe_resources.broker.alpaca.adapter import AlpacaBroker
    from kobe_resources.broker.exchange.simulated import KEY

    return AlpacaBroker(hosts, KEY, KEY, settings.broker.feed, settings.broker.timeout_s, _pace(settings, hosts))


def _alpaca(settings: Settings, secrets: Secrets, hosts: Hosts, read_only: bool) -> Broker:
    from kobe_resources.broker.alpaca.adapter import AlpacaBroker

    if secrets.alpaca_api_key_id is None or secrets.alpaca_api_secret_key is None:
        raise UsageError(
            f"there are no keys for {hosts.trading_url}", "set ALPACA_API_KEY_ID and ALPACA_API_SECRET_KEY, or KOBE_ENV_FILE"
        )
    return AlpacaBroker(
        hosts,
        secrets.alpaca_api_key_id.get_secret_value(),
        secrets.alpaca_api_secret_key.get_secret_value(),
        settings.broker.feed,
        settings.broker.timeout_s,
        _pace(settings, hosts),
        read_only,
    )


def _pace(settings: Settings, hosts: Hosts) -> Pace | None:
    """One pace for all that this data folder asks of the host. A broker that we started ourselves needs none."""
    from kobe_resources.broker.pacing import pace_of

    return pace_of(settings.broker.calls_per_minute, hosts.trading_url, kobe_home() / "pace")
