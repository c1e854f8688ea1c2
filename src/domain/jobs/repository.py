"""Queries about jobs, for people. Those of workers are in `lease_repository` and `change_repository`."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from sqlalchemy import Select, Text, cast, delete, func, or_, select, text, update
from sqlalchemy.orm import selectinload
from uuid_utils.compat import uuid7

from domain.accounts.reach import Reach
from domain.base import DATABASE_NOW, like
from domain.jobs.models import Job, StepRun
from domain.jobs.orders import JobFilter
from domain.jobs.states import JobState, StepState
from domain.tags.models import JOB_TAGS, Tag
from domain.workers.models import WorkerProcess

KEY_LIFE: Final = timedelta(hours=24)
ORDERS: Final = {
    "created_at": Job.created_at,
    "run_at": Job.run_at,
    "priority": Job.priority,
    "finished_at": Job.finished_at,
}

_APPEND: Final = text("""
INSERT INTO job_events (job_id, seq, at, type, body)
SELECT CAST(:job_id AS uuid), :first + e.place - 1, statement_timestamp(), e.type, e.body::json
FROM unnest(CAST(:types AS text[]), CAST(:bodies AS text[])) WITH ORDINALITY AS e(type, body, place)
RETURNING at
""")

_MAKE_TAGS: Final = text("""
INSERT INTO tags (id, owner_id, name, created_at, updated_at)
SELECT t.id, CAST(:owner_id AS uuid), t.name, statement_timestamp(), statement_timestamp()
FROM unnest(CAST(:ids AS uuid[]), CAST(:names AS text[])) WITH ORDINALITY AS t(id, name, place)
ORDER BY t.place
ON CONFLICT (owner_id, name) DO NOTHING
""")

_LINK_TAGS: Final = text("""
INSERT INTO job_tags (job_id, tag_id)
SELECT l.job_id, t.id
FROM unnest(CAST(:job_ids AS uuid[]), CAST(:names AS text[])) AS l(job_id, name)
JOIN tags t ON t.owner_id = CAST(:owner_id AS uuid) AND t.name = l.name
""")


class JobRepository(SQLAlchemyAsyncRepository[Job]):
    model_type = Job

    async def log(self, job: Job, types: Sequence[str], bodies: Sequence[str]) -> Any:
        """Append events as the last ones up to the job's head; returns the database's time."""
        await self.session.flush()
        first = job.event_seq - len(types) + 1
        parameters = {"job_id": job.id, "first": first, "types": list(types), "bodies": list(bodies)}
        return (await self.session.execute(_APPEND, parameters)).scalars().all()[0]

    async def reached(self, job_id: UUID, reach: Reach, *, lock: bool = False) -> Job | None:
        """A job within reach, with its tags."""
        statement = select(Job).where(Job.id == job_id, *reach.within(Job.owner_id, Job.id))
        if lock:
            statement = statement.with_for_update(key_share=True, of=Job)
        jobs = await self._jobs(statement)
        return jobs[0] if jobs else None

    async def all_reached(self, job_ids: Sequence[UUID], reach: Reach) -> list[Job]:
        """Those of the jobs that are within reach, with their tags."""
        return await self._jobs(select(Job).where(Job.id.in_(job_ids), *reach.within(Job.owner_id, Job.id)))

    async def page(self, reach: Reach, wanted: JobFilter) -> tuple[list[Job], int]:
        """The wanted page, in a stable order, and how many match in all."""
        matching = matching_jobs(reach, wanted)
        column = ORDERS[wanted.order_by.removeprefix("-")]
        ends = (
            (column.desc().nulls_last(), Job.id.desc())
            if wanted.order_by[0] == "-"
            else (
                column.asc().nulls_last(),
                Job.id.asc(),
            )
        )
        jobs = await self._jobs(matching.order_by(*ends).limit(wanted.limit).offset(wanted.offset))
        total = select(func.count()).select_from(matching.order_by(None).subquery())
        return jobs, (await self.session.execute(total)).scalar_one()

    async def set_tags(self, owner_id: UUID, job_id: UUID, names: Sequence[str]) -> None:
        """Give the job exactly the tags *names*; those that are new are made."""
        await self.session.execute(delete(JOB_TAGS).where(JOB_TAGS.c.job_id == job_id))
        await self.add_tags(owner_id, {job_id: names})

    async def add_tags(self, owner_id: UUID, names: Mapping[UUID, Sequence[str]]) -> None:
        """Give each job its tags, which it does not have yet; those that are new are made."""
        links = [(job_id, name) for job_id, wanted in names.items() for name in set(wanted)]
        if not links:
            return
        # Always in the same order, so that two who make the same tags do not wait for each other for ever.
        distinct = sorted({name for _, name in links})
        await self.session.execute(
            _MAKE_TAGS, {"owner_id": owner_id, "ids": [uuid7() for _ in distinct], "names": distinct}
        )
        job_ids, linked = zip(*links, strict=True)
        await self.session.execute(
            _LINK_TAGS, {"owner_id": owner_id, "job_ids": list(job_ids), "names": list(linked)}
        )

    async def steps(self, job_id: UUID) -> Sequence[StepRun]:
        statement = select(StepRun).where(StepRun.job_id == job_id)
        return (await self.session.execute(statement)).scalars().all()

    async def reset_steps(self, job_id: UUID) -> None:
        """Give unfinished steps their tries back; finished ones stay finished."""
        await self.session.execute(
            update(StepRun)
            .where(StepRun.job_id == job_id, StepRun.state != StepState.SUCCEEDED)
            .values(state=StepState.PENDING, tries=0, error=None, retry_at=None, finished_at=None)
        )

    async def cancel_steps(self, job_id: UUID) -> None:
        await self.session.execute(
            update(StepRun)
            .where(StepRun.job_id == job_id, StepRun.state.in_([StepState.PENDING, StepState.RUNNING]))
            .values(state=StepState.CANCELLED, retry_at=None, finished_at=DATABASE_NOW)
        )

    async def now(self) -> Any:
        return (await self.session.execute(select(DATABASE_NOW))).scalar_one()

    async def serving(self, alive_within: timedelta) -> list[tuple[set[str], set[str]]]:
        """The (queues, pipelines as `name@version`) of every worker that is alive."""
        statement = select(WorkerProcess.queues, WorkerProcess.pipelines).where(
            WorkerProcess.last_seen_at > DATABASE_NOW - alive_within
        )
        return [(set(queues), set(pipelines)) for queues, pipelines in await self.session.execute(statement)]

    async def _jobs(self, statement: Select[tuple[Job]]) -> list[Job]:
        result = await self.session.execute(
            statement.options(selectinload(Job.tags)).execution_options(populate_existing=True)
        )
        return list(result.scalars())


def matching_jobs(reach: Reach, wanted: JobFilter) -> Select[tuple[Job]]:
    """All jobs within reach that are wanted, whatever the page; without an order."""
    conditions = reach.within(Job.owner_id, Job.id)
    if wanted.owner_id is not None:
        conditions.append(Job.owner_id == wanted.owner_id)
    if wanted.state is not None:
        conditions.append(Job.state == JobState(wanted.state))
    if wanted.pipeline is not None:
        conditions.append(Job.pipeline == wanted.pipeline)
    if wanted.tag is not None:
        tagged = select(JOB_TAGS.c.job_id).join(Tag, Tag.id == JOB_TAGS.c.tag_id)
        conditions.append(
            Job.id.in_(tagged.where(Tag.name == wanted.tag, *reach.within(Tag.owner_id, JOB_TAGS.c.job_id)))
        )
    if wanted.search is not None:
        pattern = like(wanted.search)
        columns = (Job.pipeline, cast(Job.id, Text), cast(Job.meta, Text), cast(Job.params, Text))
        conditions.append(or_(*(column.ilike(pattern, escape="\\") for column in columns)))
    if wanted.created_after is not None:
        conditions.append(Job.created_at >= wanted.created_after)
    if wanted.created_before is not None:
        conditions.append(Job.created_at < wanted.created_before)
    return select(Job).where(*conditions)
