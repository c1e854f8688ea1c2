"""Opens job streams, and loads the snapshots that they begin with, many per query."""

from collections import defaultdict
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
from headrace.domain.jobs.errors import JobNotFoundError
from headrace.domain.jobs.models import Job
from headrace.domain.jobs.service import JobService
from headrace.domain.jobs.states import JobState

_MAX_SNAPSHOTS: Final = 100

SnapshotKey = tuple[Reach, UUID]


def open_job_stream(services: Services, user: CurrentUser, job_id: UUID, after: int) -> JobStream:
    """Return a stream of the job for *user* that begins past event *after*."""
    return JobStream(job_id, after, services.hub, partial(services.load_snapshot, (user.reach, job_id)))


class SnapshotLoader:
    """Loads snapshots by (reach, job id). A job beyond the reach has none.

    One query reads those of many jobs without large values. Other jobs are then looked up one at a time.
    """

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions
        self._small_snapshots = BatchLoader(self._fetch_small, _MAX_SNAPSHOTS, group_of=_owner)
        self._large_snapshots = BatchLoader(self._fetch_large, 1, group_of=_owner)

    async def load(self, key: SnapshotKey) -> Snapshot | None:
        return await self._small_snapshots.load(key) or await self._large_snapshots.load(key)

    async def _fetch_small(self, keys: Sequence[SnapshotKey]) -> dict[SnapshotKey, Snapshot]:
        by_reach: defaultdict[Reach, list[UUID]] = defaultdict(list)
        for reach, job_id in keys:
            by_reach[reach].append(job_id)
        snapshots: dict[SnapshotKey, Snapshot] = {}
        # The session ends here: a stream must not hold a connection while it waits.
        async with self._sessions() as session:
            service = JobService(session=session)
            for reach, job_ids in by_reach.items():
                jobs = await service.get_many(job_ids, reach)
                snapshots |= {(reach, job.id): snapshot for job, snapshot in await _snapshots(service, jobs)}
        return snapshots

    async def _fetch_large(self, keys: Sequence[SnapshotKey]) -> dict[SnapshotKey, Snapshot]:
        ((reach, job_id),) = keys
        async with self._sessions() as session:
            service = JobService(session=session)
            try:
                job = await service.get(job_id, reach)
            except JobNotFoundError:
                return {}
            ((_, snapshot),) = await _snapshots(service, [job])
            return {(reach, job_id): snapshot}


def _owner(key: SnapshotKey) -> UUID | None:
    return key[0].owner_id


async def _snapshots(service: JobService, jobs: Sequence[Job]) -> list[tuple[Job, Snapshot]]:
    waiting_for = await service.why_waiting(jobs)
    return [(job, Snapshot(JobView.of(job, waiting_for.get(job.id)), _stored_progress(job))) for job in jobs]


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
