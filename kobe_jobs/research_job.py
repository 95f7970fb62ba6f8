"""The research jobs, and the schedule that asks for them: everything up to the report, or bars up to signals."""

import dagster as dg

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
def after_the_close(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Request one run of `wf_report` for the session that closed last; the run key lets later ticks of the evening pass."""
    session = calendar.latest_complete_session(context.scheduled_execution_time, calendar.BARS_PUBLISHED_AFTER)
    return dg.RunRequest(run_key=f"refresh:{session}", tags={SESSION_TAG: str(session)})


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
