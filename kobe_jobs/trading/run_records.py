"""What a trading run puts on the audit chain about itself: its settings, its data and code, and why it failed."""

from __future__ import annotations

import contextlib
from functools import cache

from kobe_assets.graph.own_strategies import source_record
from kobe_jobs.trading.context import SessionContext, TradingContext
from kobe_resources.errors import KobeError
from kobe_resources.runtime.source_closure import closure_hash


def note_settings(trading: TradingContext) -> None:
    """Put a change of settings on the chain, with what they are now; they hold no secrets."""
    sql = "SELECT json_extract(body, '$.pin') AS pin FROM audit WHERE kind = 'settings' ORDER BY seq DESC LIMIT 1"
    if [row["pin"] for row in trading.ledger.rows(sql)] == [trading.ledger.pin]:
        return
    settings = trading.settings.model_dump(mode="json", exclude={"trading": {"alert_webhook"}})
    with trading.ledger.write() as write:
        write.audit("settings", pin=trading.ledger.pin, settings=settings)


def note_failure(context: SessionContext, error: KobeError) -> None:
    """Put on the chain why a run was refused or broke off; a ledger that cannot take it must not hide the reason."""
    with contextlib.suppress(KobeError), context.ledger.write() as write:
        write.audit(
            "run_failed", account=context.account, session=context.session, error=type(error).__name__, reason=str(error)
        )


def note_sources(context: SessionContext) -> None:
    """Record on the chain which data and which code this run used: tables change, the record does not."""
    names = [part.strategy.name for part in context.parts]
    with context.ledger.write() as write:
        write.audit(
            "evidence", account=context.account, session=context.session, signal_session=context.signal_session,
            signals=len(context.snapshot.signals_of(context.signal_session)), versions=context.snapshot.versions,
            code=code_version(),
            sources={name: record for name in names if (record := source_record(context.settings, name)) is not None},
        )  # fmt: skip


NOT_FOLLOWED = ("kobe_assets.api",)
"""For notebooks; the package names it, and no run stands on it."""


@cache
def code_version() -> str:
    """A hash of every source that a run uses: what decides, sends and records orders, and what the signals come from."""
    return closure_hash("kobe_jobs.trading.session", without=NOT_FOLLOWED)[:12]
