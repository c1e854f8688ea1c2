"""Opens job streams, and loads the snapshots that they begin with, many per query."""

from collections.abc import Sequence
from functools import partial
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from headrace.api.dependencies import Services
from headrace.api.jobs.schemas import JobView
from headrace.api.live.batch_loader import BatchLoader
from headrace.api.live.job_stream import JobStream, Snapshot
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.reach import Reach
from headrace.domain.events.types import Progress, ProgressFrame
from headrace.domain.jobs.models import Job
from headrace.domain.jobs.service import JobService
from headrace.domain.jobs.states import JobState

_MAX_SNAPSHOTS: Final = 100

SnapshotKey = tuple[Reach, UUID]


def open_job_stream(services: Services, user: CurrentUser, job_id: UUID, after: int) -> JobStream:
    """Return a stream of the job for *user* that begins past event *after*."""
    return JobStream(job_id, after, services.hub, partial(services.snapshots.load, (user.reach, job_id)))


def snapshot_loader(sessions: async_sessionmaker[AsyncSession]) -> BatchLoader[SnapshotKey, Snapshot]:
    """Return a loader of snapshots by (reach, job id). A job beyond the reach has none."""

    async def fetch(keys: Sequence[SnapshotKey]) -> dict[SnapshotKey, Snapshot]:
        by_reach: dict[Reach, list[UUID]] = {}
        for reach, job_id in keys:
            by_reach.setdefault(reach, []).append(job_id)
        snapshots: dict[SnapshotKey, Snapshot] = {}
        # The session ends here: a stream must not hold a connection while it waits.
        async with sessions() as session:
            service = JobService(session=session)
            for reach, job_ids in by_reach.items():
                jobs = await service.get_many(job_ids, reach)
                waiting_for = await service.why_waiting(jobs)
                for job in jobs:
                    view = JobView.of(job, waiting_for.get(job.id))
                    snapshots[reach, job.id] = Snapshot(view, _stored_progress(job))
        return snapshots

    return BatchLoader(fetch, _MAX_SNAPSHOTS, group_of=lambda key: key[0].owner_id)


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
