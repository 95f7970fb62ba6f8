"""Asking again for a run that failed: after longer and longer pauses, and not for ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

RETRY_AFTER_S = (60, 120, 240, 480, 600, 600)
"""Pauses after each failed run before it is asked for again; after one more it is a person's."""


@dataclass(frozen=True)
class RunTries:
    """The runs there were of one thing. failed: of the last, one after the other. ended: the last, in seconds since 1970."""

    count: int
    failed: int
    at_work: bool
    ended: float

    @property
    def are_spent(self) -> bool:
        """Whether so many failed that another one needs a person."""
        return self.failed > len(RETRY_AFTER_S)

    def wait_s(self, now: float) -> float:
        """Seconds until the next run may be asked for; 0 or less where it may be now. now: seconds since 1970."""
        return RETRY_AFTER_S[max(self.failed - 1, 0)] - (now - self.ended) if self.count else 0.0

    def key(self, thing: str) -> str:
        """The run key of the next run: Dagster lets each key be asked for once, whatever became of its run."""
        return f"{thing}:{self.count + 1}" if self.count else thing


def tries_of(instance: dg.DagsterInstance, job: str, tags: Mapping[str, str]) -> RunTries:
    """The runs of the job that bear these tags."""
    records = instance.get_run_records(dg.RunsFilter(job_name=job, tags=dict(tags)))
    at_work = any(not record.dagster_run.is_finished for record in records)
    return RunTries(len(records), _failed_in_a_row(records), at_work, _ended(records) if records else 0.0)


def _failed_in_a_row(records: Sequence[dg.RunRecord]) -> int:
    newest = sorted(records, key=lambda record: record.create_timestamp, reverse=True)
    statuses = [record.dagster_run.status is dg.DagsterRunStatus.FAILURE for record in newest]
    return statuses.index(False) if False in statuses else len(statuses)


def _ended(records: Sequence[dg.RunRecord]) -> float:
    return max(record.end_time or record.update_timestamp.timestamp() for record in records)
