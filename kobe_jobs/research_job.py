"""The research jobs, and the schedule that asks for them: everything up to the report, or bars up to signals."""

import dagster as dg

from kobe_jobs.retries import tries_of
from kobe_resources import calendar

REPORT_JOB, REFRESH_JOB = "wf_report", "refresh"
RESEARCH_JOBS = (REPORT_JOB, REFRESH_JOB)
"""The jobs that bring signals."""
SESSION_TAG = "kobe/session"
"""Names the session that a run is for."""
EXCHANGE_TIME = "America/New_York"


@dg.schedule(
    cron_schedule="*/15 13-23 * * 1-5",
    job_name=REPORT_JOB,
    execution_timezone=EXCHANGE_TIME,
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Bars, signals and the evidence that paper and live ask for, half an hour after each close; half days too.",
)
def after_the_close(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Request one run of `wf_report` for the session that closed last, and others while the last one failed, bounded."""
    session = calendar.latest_complete_session(context.scheduled_execution_time, calendar.BARS_PUBLISHED_AFTER)
    tags = {SESSION_TAG: str(session)}
    tries = tries_of(context.instance, REPORT_JOB, tags)
    if tries.count and (tries.at_work or not tries.failed):
        return dg.SkipReason(f"a run of session {session} is at work, or ended without a failure")
    if tries.are_spent:
        return dg.SkipReason(f"{tries.failed} runs of session {session} failed: it needs a person, `kobe report`")
    wait = tries.wait_s(context.scheduled_execution_time.timestamp())
    if wait > 0:
        return dg.SkipReason(f"the last run of session {session} failed: asked for again in {wait:.0f} s or more")
    return dg.RunRequest(run_key=tries.key(f"refresh:{session}"), tags=tags)


def research_definitions() -> dg.Definitions:
    """`wf_report` computes everything up to the report, `refresh` the bars and what depends on them up to the signals."""
    report = dg.define_asset_job(
        REPORT_JOB,
        selection=dg.AssetSelection.assets("kpi_report").upstream(),
        description="Everything up to the walk-forward report; Kobe's command line runs only what is stale of it.",
    )
    refresh = dg.define_asset_job(
        REFRESH_JOB,
        selection=dg.AssetSelection.assets("signals").upstream(),
        description="Top up bars and bring universe, indicators and signals up to date.",
    )
    return dg.Definitions(jobs=[report, refresh], schedules=[after_the_close])
