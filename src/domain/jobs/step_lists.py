"""Reads jobs and their step runs for a list, without values that are too large to be repeated there."""

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import defer
from sqlalchemy.orm.attributes import set_committed_value

from headrace.domain.base import Session
from headrace.domain.jobs.models import Job, StepRun
from headrace.domain.omissions import OMITTED
from headrace.domain.paging import listed


async def load_listed_steps(session: Session, jobs: Sequence[Job]) -> None:
    """Set `step_runs` of each job. Large outputs are `OMITTED`, and items are None, as many as there are."""
    statement = (
        select(
            StepRun,
            *listed([StepRun.output], [StepRun.job_id.desc(), StepRun.key]),
            func.json_array_length(StepRun.items),
        )
        .where(StepRun.job_id.in_([job.id for job in jobs]))
        .options(defer(StepRun.output), defer(StepRun.items))
    )
    runs: defaultdict[UUID, list[StepRun]] = defaultdict(list)
    for run, output, is_omitted, items in await session.execute(statement):
        set_committed_value(run, "output", OMITTED if is_omitted else output)
        set_committed_value(run, "items", None if items is None else [None] * items)
        runs[run.job_id].append(run)
    for job in jobs:
        set_committed_value(job, "step_runs", runs[job.id])
