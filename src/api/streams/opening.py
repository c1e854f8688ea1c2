"""What every transport does before it streams: load the job, and only for somebody who may see it."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import msgspec

from api.authentication import CurrentUser
from api.dependencies import Services
from api.schemas import JobView
from api.streams.session import Session, Snapshot
from domain.events.types import Progress, ProgressFrame
from domain.jobs.errors import JobNotFoundError
from domain.jobs.models import Job
from domain.jobs.service import JobService
from domain.jobs.states import JobState


def open_session(services: Services, user: CurrentUser, job_id: UUID, after: int) -> Session:
    """A stream of that job for *user*, from event *after* + 1 on."""
    return Session(job_id, after, services.hub, _loader(services, user, job_id))


def _loader(services: Services, user: CurrentUser, job_id: UUID) -> Callable[[], Awaitable[Snapshot | None]]:
    async def load() -> Snapshot | None:
        # Read and let go: a stream holds no session while it waits.
        async with services.sessions() as session:
            jobs = JobService(session=session)
            try:
                job = await jobs.find(job_id, user.id)
            except JobNotFoundError:
                return None
            why = await jobs.why_waiting([job])
            return Snapshot(JobView.of(job, why.get(job.id)), _stored_progress(job))

    return load


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
