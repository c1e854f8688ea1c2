"""What every transport does before it streams: load the job, and only for somebody who may see it."""

from collections.abc import Sequence
from functools import partial
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from headrace.api.dependencies import Services
from headrace.api.live.batch_loader import BatchLoader
from headrace.api.live.job_stream import JobStream, Snapshot
from headrace.api.schemas import JobView
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.reach import Reach
from headrace.domain.events.types import Progress, ProgressFrame
from headrace.domain.jobs.models import Job
from headrace.domain.jobs.service import JobService
from headrace.domain.jobs.states import JobState

_MOST_AT_ONCE: Final = 100


def open_session(services: Services, user: CurrentUser, job_id: UUID, after: int) -> JobStream:
    """A stream of that job for *user*, from event *after* + 1 on."""
    return JobStream(job_id, after, services.hub, partial(services.snapshots.get, (user.reach, job_id)))


def snapshots(sessions: async_sessionmaker[AsyncSession]) -> BatchLoader[tuple[Reach, UUID], Snapshot]:
    """Loads jobs by (reach, job) for those who begin to watch, many at a time: thousands may come at once."""

    async def load(wanted: Sequence[tuple[Reach, UUID]]) -> dict[tuple[Reach, UUID], Snapshot]:
        by_reach: dict[Reach, list[UUID]] = {}
        for reach, job_id in wanted:
            by_reach.setdefault(reach, []).append(job_id)
        found = {}
        # Read and let go: a stream holds no session while it waits.
        async with sessions() as session:
            service = JobService(session=session)
            for reach, job_ids in by_reach.items():
                jobs = await service.find_all(job_ids, reach)
                why = await service.why_waiting(jobs)
                for job in jobs:
                    view = JobView.of(job, why.get(job.id))
                    found[reach, job.id] = Snapshot(view, _stored_progress(job))
        return found

    return BatchLoader(load, _MOST_AT_ONCE)


def _stored_progress(job: Job) -> bytes | None:
    if job.state is not JobState.RUNNING or job.progress_steps is None:
        return None
    frame = ProgressFrame(
        head=job.event_seq,
        attempt=job.attempt,
        fence=job.fence,
        fraction=job.progress,
        steps=msgspec.convert(job.progress_steps, dict[str, Progress]),
    )
    return msgspec.json.encode(frame)
