"""Trading in Dagster: op jobs, the external assets they feed, the sensor that asks for a session, schedules, alerts.

Trading is an op job and no asset, or "Materialize all" would trade. What it did shows as events on external assets.
"""

import contextlib
import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from kobe_jobs.research_job import EXCHANGE_TIME, RESEARCH_JOBS, SESSION_TAG
from kobe_jobs.retries import RunTries, tries_of
from kobe_jobs.trading.reporting.alerts import alert, alert_if_healed, alert_of_differences, alert_of_next_orders, alert_of_run
from kobe_resources import calendar
from kobe_resources.errors import KobeError
from kobe_resources.kill_switch import KillSwitch
from kobe_resources.resources import BrokerResource, LedgerResource, WarehouseResource
from kobe_resources.settings.models import Settings

if TYPE_CHECKING:
    from kobe_jobs.trading.context import TradingContext

GROUP = "trading"
TRADING_TAG = "kobe/trading"
STAGE_TAG = "kobe/stage"
SENSOR_INTERVAL_S = 30
QUIET = "no alert"
TRADING_JOBS = ("trade_session", "reconcile")


class TradeConfig(dg.Config):
    """What one trading run is asked to do; every field may stay empty."""

    session: str = Field(
        default="",
        description="The session to trade (YYYY-MM-DD). Empty: the one of the broker's clock, or, at a broker whose clock"
        " stands in the stored bars, the next that has bars and was not traded. A broker with a real clock refuses any other.",
    )
    stage: str = Field(
        default="",
        description="Where given, must be the stage of the settings: a run asked for in one stage does not go out in another.",
    )
    confirm: str = Field(
        default="",
        description="Stage live only: the phrase that a person types to let this session trade. The refusal tells it.",
    )


@dg.op(description="Reconcile, exits, entries, protective stops, reconcile; a half-done session is resumed.")
def trade(
    context: dg.OpExecutionContext,
    config: TradeConfig,
    settings: dg.ResourceParam[Settings],
    broker: BrokerResource,
    ledger: LedgerResource,
) -> None:
    """One trading run; fails where it was refused or left something open."""
    from kobe_jobs.trading.next_session import keeps_stored_time, next_session, nothing_left
    from kobe_jobs.trading.reporting.dagster_events import run_events
    from kobe_jobs.trading.run_lock import AnotherRunTrades
    from kobe_jobs.trading.session import trade_session
    from kobe_resources.order_ledger.sessions import SessionTaken

    stage = settings.broker.stage
    if config.stage and config.stage != stage:
        mend = f"leave its stage empty, or set broker.stage to {config.stage}"
        raise dg.Failure(
            f"the run was asked for in stage {config.stage}, the settings say {stage}: {mend}", allow_retries=False
        )
    try:
        day = dt.date.fromisoformat(config.session) if config.session else None
    except ValueError:
        raise dg.Failure(f"{config.session!r} is no session: write it as YYYY-MM-DD", allow_retries=False) from None
    try:
        with _trading_context(settings, broker, ledger, context.run_id, leave_clock=day is not None) as trading:
            if day is None and keeps_stored_time(trading):
                day = next_session(trading)
                if day is None:
                    context.log.info(nothing_left(trading))
                    return
            try:
                summary = trade_session(trading, day, confirm=lambda _: config.confirm)
            finally:
                alert_if_healed(settings, trading.ledger)
    except (AnotherRunTrades, SessionTaken) as error:
        # Another run trades, or has: worth saying, not worth waking a person for.
        raise dg.Failure(str(error), metadata={QUIET: True}, allow_retries=False) from error
    except KobeError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    for event in run_events(summary):
        context.log_event(event)
    alert_of_run(settings, summary)
    if not summary.is_clean:
        # What was halted has been told, with what is bare.
        metadata: dict[str, Any] = {"summary": summary.as_json(), QUIET: True}
        raise dg.Failure(summary.halted or "not everything is settled", metadata=metadata, allow_retries=False)


@dg.op(description="Compare the ledger with the broker and list every difference; sends nothing, adopts nothing.")
def compare_with_broker(
    context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings], broker: BrokerResource, ledger: LedgerResource
) -> None:
    """Reconcile; fails on a difference."""
    from kobe_jobs.trading.context import open_session
    from kobe_jobs.trading.reconcile.compare import reconcile_account
    from kobe_jobs.trading.run_lock import trading_lock

    try:
        with (
            _trading_context(settings, broker, ledger, context.run_id) as trading,
            trading_lock(trading.ledger, reconciles=True),
        ):
            session_context = open_session(trading, settings.portfolio.book, any_day=True)
            found = reconcile_account(session_context, "job")
            trading.ledger.copy_audit()
            alert_if_healed(settings, trading.ledger)
            head = trading.ledger.audit_head()
    except KobeError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    rows = [{"kind": r.kind, "what": r.what, "ledger": r.ledger, "broker": r.broker} for r in found.differences]
    facts: dict[str, Any] = {"agrees": found.agrees, "differences": len(rows), "audit head": head}
    table = dg.MetadataValue.table([dg.TableRecord(row) for row in rows]) if rows else dg.MetadataValue.text("none")
    context.log_event(dg.AssetObservation("positions", metadata={**facts, "rows": table}))
    if not found.agrees:
        alert_of_differences(settings, session_context.account, found.differences)
        raise dg.Failure(f"ledger and broker differ: {found.describe()}", metadata={QUIET: True}, allow_retries=False)


@contextlib.contextmanager
def _trading_context(
    settings: Settings, broker: BrokerResource, ledger: LedgerResource, run_id: str, leave_clock: bool = False
) -> Iterator["TradingContext"]:
    """What a trading run works with, under the id of the Dagster run, closed at the end."""
    from kobe_jobs.trading.context import TradingContext
    from kobe_resources.market_data.store import warehouse_of

    warehouse = warehouse_of(settings)
    with broker.open(leave_clock) as opened, ledger.open(run_id[:12]) as book:
        yield TradingContext(settings, settings.broker.stage, opened, book, warehouse)


@dg.failure_hook(name="alert_on_failure", required_resource_keys={"settings"})
def alert_on_failure(context: dg.HookContext) -> None:
    """Log and post that a trading step failed."""
    error = context.op_exception
    if isinstance(error, dg.Failure) and QUIET in error.metadata:
        return
    reason = getattr(error, "description", None) or str(error)
    alert(context.resources.settings, f"the job {context.job_name} failed", reason=reason, run=context.run_id)


@dg.job(
    tags={TRADING_TAG: "true"},
    hooks={alert_on_failure},
    executor_def=dg.in_process_executor,
    description="Trade the session that is open, on the signals of the one before it.",
)
def trade_session() -> None:
    """One trading run."""
    trade()


@dg.job(
    tags={TRADING_TAG: "true"},
    hooks={alert_on_failure},
    executor_def=dg.in_process_executor,
    description="Ledger against broker: orders, fills, positions, cash.",
)
def reconcile() -> None:
    """One comparison."""
    compare_with_broker()


@dg.sensor(
    job=trade_session,
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=SENSOR_INTERVAL_S,
    description="Asks for one run a stage and session when the signals of the session before landed and the market is open, and"
    " again, after a pause, while that session is left unfinished or unprotected.",
)
def signals_landed(context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]) -> Any:
    """Request the open session's run once its signals are there, in a run that succeeded with its blocking checks.

    A run of its own that failed and left the session unfinished is asked for again, bounded.
    """
    from kobe_jobs.trading.due_runs import session_to_trade, why_no_entries
    from kobe_jobs.trading.landed_signals import latest_signals, why_not_these

    landed = latest_signals(context.instance)
    seen = int(context.cursor) if context.cursor else None
    switched_on = context.last_sensor_start_time or 0.0
    if seen is None or (landed is not None and seen < landed.storage_id and landed.timestamp < switched_on):
        # What was there before the sensor was switched on, the first time or again, is no reason to trade.
        context.update_cursor(str(landed.storage_id if landed else 0))
        return dg.SkipReason("switched on: signals that are already there are ignored")
    if landed is None or landed.storage_id <= seen:
        return _retry(context.instance, settings) or dg.SkipReason("no new signals")
    if settings.broker.stage == "live":
        return dg.SkipReason("stage live asks a person to confirm each session: start trade_session by hand")
    now = _now()
    session = session_to_trade(settings, now)
    problem = why_no_entries(settings, session, now) or why_not_these(context.instance, landed, session)
    if problem:
        return dg.SkipReason(problem)
    context.update_cursor(str(landed.storage_id))
    return _request(settings.broker.stage, str(session))


@dg.sensor(
    job=trade_session,
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=SENSOR_INTERVAL_S,
    description="Asks for the runs after the first one of a session: after the open and the close, every minute while orders"
    " work, and while the market is shut before a split of something held takes effect, so that its stop is lifted.",
)
def orders_working(context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]) -> Any:
    """Request the next run of a session that was begun and is not done, one at a time, a minute apart."""
    stage, now = settings.broker.stage, _now()
    if _lives_in_stored_bars(settings):
        return dg.SkipReason("nothing works at a broker whose clock stands in the stored bars")
    session, why = _next_due(stage, now)
    if session is None:
        return dg.SkipReason(why)
    tries = _tries(context.instance, stage, session)
    if tries.at_work:
        return dg.SkipReason(f"a run of session {session} is at work")
    if tries.are_spent:
        return dg.SkipReason(f"session {session} is unfinished after {tries.failed} runs: it needs a person, `kobe trade`")
    wait = tries.wait_s(now.timestamp())
    if wait > 0:
        return dg.SkipReason(f"{why}: asked for again in {wait:.0f} s")
    return _request(stage, str(session), tries)


def _next_due(stage: str, now: dt.datetime) -> tuple[dt.date | None, str]:
    """(the session that needs a run now, why); None with the reason why nothing does. Lifting and setting pass the switch."""
    from kobe_jobs.trading.due_runs import bare_after_split, session_of_today, splits_ahead, why_unfinished

    bare = bare_after_split(stage, now)
    if bare is not None:
        return bare[0], f"the stop of {', '.join(bare[1])} is to be set again after the split"
    session = session_of_today(now)
    why = why_unfinished(stage, session, now) if session is not None else ""
    if why:
        return (None, "the kill switch is on") if KillSwitch().status().is_on else (session, why)
    ahead = splits_ahead(stage, now)
    if ahead is None:
        return None, "no order works, and no stop has to be lifted"
    return ahead[0], f"a split of {', '.join(ahead[1])} takes effect at the next open"


@dg.schedule(
    cron_schedule="30 22 * * 1-5",
    job_name="parity",
    execution_timezone=EXCHANGE_TIME,
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="The evening's comparison of what was traded with what the simulation would have traded.",
)
def parity_in_the_evening(context: dg.ScheduleEvaluationContext) -> Any:
    """Request one comparison a session."""
    session = calendar.latest_complete_session(context.scheduled_execution_time, calendar.BARS_PUBLISHED_AFTER)
    return dg.RunRequest(run_key=f"parity:{session}", tags={SESSION_TAG: str(session)})


@dg.run_failure_sensor(
    name="run_failed",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=SENSOR_INTERVAL_S,
    description="Logs a failed run, and alerts where the settings say so.",
)
def run_failed(context: dg.RunFailureSensorContext, settings: dg.ResourceParam[Settings]) -> None:
    """Alert for runs whose own hook could not: research runs, and trading runs whose process died."""
    job = context.dagster_run.job_name
    if job in TRADING_JOBS and context.get_step_failure_events():
        return
    alert(settings, f"the job {job} failed", reason=context.failure_event.message, run=context.dagster_run.run_id)


@dg.run_status_sensor(
    name="evening_orders",
    run_status=dg.DagsterRunStatus.SUCCESS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=SENSOR_INTERVAL_S,
    description="After a run that brought signals: tells tomorrow's orders at the addresses of [alerts], where that is wished.",
)
def evening_orders(context: dg.RunStatusSensorContext, settings: dg.ResourceParam[Settings]) -> None:
    """Send what the next run would send, as an alert, once a session."""
    if context.dagster_run.job_name in RESEARCH_JOBS:
        alert_of_next_orders(settings)


@dg.asset_check(
    asset="fills",
    name="parity_with_simulation",
    blocking=False,
    description="The last traded session equals the simulation's, trade by trade; every difference is classed. What could not"
    " be compared does not pass.",
)
def parity_with_simulation(
    settings: dg.ResourceParam[Settings], store: WarehouseResource, ledger: LedgerResource
) -> dg.AssetCheckResult:
    """Compare the last traded session's trades with the simulation's."""
    from kobe_jobs.trading.parity.live import live_parity

    with ledger.open() as book:
        found = live_parity(settings, store.open(), book, _now())
    records = [
        dg.TableRecord(
            {"class": r.kind, "symbol": r.symbol, "signal": str(r.signal_session), "what": r.what, "simulated": r.simulated,
             "live": r.live}
        )
        for r in found.rows
    ]  # fmt: skip
    metadata: dict[str, Any] = {"session": str(found.session), "trades": found.compared, "differences": len(found.rows)}
    if records:
        metadata["rows"] = dg.MetadataValue.table(records)
    note = f"not compared: {found.not_compared}" if found.not_compared else None
    return dg.AssetCheckResult(passed=found.holds, severity=dg.AssetCheckSeverity.WARN, metadata=metadata, description=note)


def trading_definitions() -> dg.Definitions:
    """The jobs of trading with their sensors and schedule, the check of parity, and the external assets they feed."""
    parity = dg.define_asset_job(
        "parity",
        selection=dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey("fills"), "parity_with_simulation")),
        description="The last traded session against the simulation.",
    )
    return dg.Definitions(
        assets=external_assets(),
        asset_checks=[parity_with_simulation],
        jobs=[trade_session, reconcile, parity],
        sensors=[signals_landed, orders_working, run_failed, evening_orders],
        schedules=[parity_in_the_evening],
    )


def external_assets() -> list[dg.AssetSpec]:
    """orders, fills and positions behind signals: shown in the lineage, never executed."""
    chain = (
        ("orders", "signals", "What the policy gate let through, and what it refused."),
        ("fills", "orders", "What the broker executed."),
        ("positions", "fills", "What is held, with its protective stops."),
    )
    return [
        dg.AssetSpec(name, deps=[behind], group_name=GROUP, kinds={"sqlite"}, owners=["team:kobe"], description=words)
        for name, behind, words in chain
    ]


def _request(stage: str, session: str, tries: RunTries | None = None) -> dg.RunRequest:
    """A run of the session; the key lets each be asked for once. tries: those there were, where this is to be another."""
    key = f"trade:{stage}:{session}"
    return dg.RunRequest(
        run_key=tries.key(key) if tries else key,
        run_config=dg.RunConfig(ops={"trade": TradeConfig(session=session, stage=stage)}),
        tags={STAGE_TAG: stage, SESSION_TAG: session},
    )


def _retry(instance: dg.DagsterInstance, settings: Settings) -> dg.RunRequest | dg.SkipReason | None:
    """Ask again for the open session where this sensor's last run of it failed and left it unfinished; None where not.

    Exits and protection are due until the close, so the end of the entries does not end it.
    """
    from kobe_jobs.trading.due_runs import is_done_in_stage

    now = _now()
    session = calendar.open_session(now)
    if session is None:
        return None
    stage = settings.broker.stage
    if _lives_in_stored_bars(settings):
        # Nothing is held that could be bare, or the broker is the run's own and fails the same way again.
        return None
    tries = _tries(instance, stage, session)
    if not tries.failed or tries.at_work:
        # Nothing was asked for, it is still at work, or the last run went well, whatever one before the open did.
        return None
    if is_done_in_stage(stage, str(session)):
        return None
    if KillSwitch().status().is_on:
        return dg.SkipReason("the kill switch is on")
    if tries.are_spent:
        return dg.SkipReason(f"session {session} is unfinished after {tries.failed} runs: it needs a person, `kobe trade`")
    wait = tries.wait_s(now.timestamp())
    if wait > 0:
        return dg.SkipReason(f"session {session} is unfinished after {tries.failed} runs: asked for again in {wait:.0f} s")
    return _request(stage, str(session), tries)


def _tries(instance: dg.DagsterInstance, stage: str, session: dt.date) -> RunTries:
    return tries_of(instance, trade_session.name, {STAGE_TAG: stage, SESSION_TAG: str(session)})


def _lives_in_stored_bars(settings: Settings) -> bool:
    """Whether the stage leaves nothing at a broker between two runs: a paper book, or a broker that a run starts for itself."""
    stage = settings.broker.stage
    return stage == "shadow" or (stage == "simulated" and not settings.broker.base_url)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
