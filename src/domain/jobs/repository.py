"""Queries about jobs, for people. Those of workers are in `lease_repository` and `change_repository`."""

from collections.abc import Sequence, Set
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from sqlalchemy import Select, Text, cast, delete, or_, select, text, update
from sqlalchemy.orm import joinedload, selectinload
from sqlalchemy.sql.base import ExecutableOption

from headrace.domain.accounts.reach import Reach
from headrace.domain.base import DATABASE_NOW
from headrace.domain.jobs.filters import Include, JobFilter
from headrace.domain.jobs.models import Job, StepRun
from headrace.domain.jobs.settling import settle_steps_sql
from headrace.domain.jobs.states import JobState, StepState
from headrace.domain.paging import SortColumns, fetch_objects, sort_order, substring_pattern
from headrace.domain.pipelines.models import PipelineVersion
from headrace.domain.tags.links import set_tags
from headrace.domain.tags.models import JOB_TAGS, Tag
from headrace.domain.workers.models import WorkerProcess

KEY_LIFE: Final = timedelta(hours=24)
SORT_COLUMNS: Final[SortColumns] = {
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

_CANCEL_STEPS: Final = text(settle_steps_sql("(SELECT CAST(:job_id AS uuid) AS id) c", "'cancelled'"))


class JobRepository(SQLAlchemyAsyncRepository[Job]):
    model_type = Job

    async def log(self, job: Job, types: Sequence[str], bodies: Sequence[str]) -> Any:
        """Append events as the last ones up to the job's head; returns the database's time."""
        await self.session.flush()
        first = job.event_seq - len(types) + 1
        parameters = {"job_id": job.id, "first": first, "types": list(types), "bodies": list(bodies)}
        return (await self.session.execute(_APPEND, parameters)).scalars().all()[0]

    async def reached(
        self, job_id: UUID, reach: Reach, *, lock: bool = False, parts: Set[Include] = frozenset()
    ) -> Job | None:
        """A job within reach, with its tags and the *parts* that are asked for."""
        statement = select(Job).where(Job.id == job_id, *reach.within(Job.owner_id, Job.id))
        if lock:
            statement = statement.with_for_update(key_share=True, of=Job)
        jobs = await self._jobs(statement, parts)
        return jobs[0] if jobs else None

    async def all_reached(self, job_ids: Sequence[UUID], reach: Reach) -> list[Job]:
        """Those of the jobs that are within reach, with their tags."""
        return await self._jobs(select(Job).where(Job.id.in_(job_ids), *reach.within(Job.owner_id, Job.id)))

    async def page(self, reach: Reach, wanted: JobFilter) -> tuple[list[Job], int]:
        """The wanted page, in a stable order, and how many match in all."""
        return await fetch_objects(
            self.session,
            matching_jobs(reach, wanted),
            order=sort_order(SORT_COLUMNS, wanted.order_by, Job.id),
            limit=wanted.limit,
            offset=wanted.offset,
            options=_loaded(wanted.parts),
        )

    async def set_tags(self, owner_id: UUID, job_id: UUID, names: Sequence[str]) -> None:
        """Give the job exactly the tags *names*; those that are new are made."""
        await set_tags(self.session, JOB_TAGS, job_id, owner_id, names)

    async def forget(self, job_id: UUID) -> None:
        """Delete the job; the database drops its history, files and links."""
        await self.session.execute(delete(Job).where(Job.id == job_id))

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
        """Cancel the pending and running step runs of a job that is cancelled."""
        await self.session.execute(_CANCEL_STEPS, {"job_id": job_id})

    async def serving(self, alive_within: timedelta) -> tuple[datetime, list[tuple[set[str], set[str]]]]:
        """The database's time, and the (queues, pipelines as `name@version`) of those alive."""
        clock = select(DATABASE_NOW.label("now")).subquery()
        statement = select(clock.c.now, WorkerProcess.queues, WorkerProcess.pipelines).outerjoin_from(
            clock, WorkerProcess, WorkerProcess.last_seen_at > DATABASE_NOW - alive_within
        )
        rows = (await self.session.execute(statement)).all()
        return rows[0].now, [(set(queues), set(names)) for _, queues, names in rows if queues is not None]

    async def _jobs(self, statement: Select[tuple[Job]], parts: Set[Include] = frozenset()) -> list[Job]:
        result = await self.session.execute(
            statement.options(*_loaded(parts)).execution_options(populate_existing=True)
        )
        return list(result.scalars())


def _loaded(parts: Set[Include]) -> list[ExecutableOption]:
    """What is read along: one statement for each, however many jobs there are."""
    options: list[ExecutableOption] = [selectinload(Job.tags)]
    if Include.STEPS in parts:
        options.append(joinedload(Job.definition, innerjoin=True).load_only(PipelineVersion.graph))
        options.append(selectinload(Job.step_runs))
    if Include.FILES in parts:
        options.append(selectinload(Job.files))
    return options


def matching_jobs(reach: Reach, wanted: JobFilter) -> Select[tuple[Job]]:
    """All jobs within reach that are wanted, whatever the page; without an order."""
    conditions = reach.within(Job.owner_id, Job.id)
    if wanted.owner_id is not None:
        conditions.append(Job.owner_id == wanted.owner_id)
    if wanted.preset_id is not None:
        conditions.append(Job.preset_id == wanted.preset_id)
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
        pattern = substring_pattern(wanted.search)
        columns = (Job.pipeline, cast(Job.id, Text), cast(Job.meta, Text), cast(Job.params, Text))
        conditions.append(or_(*(column.ilike(pattern, escape="\\") for column in columns)))
    if wanted.created_after is not None:
        conditions.append(Job.created_at >= wanted.created_after)
    if wanted.created_before is not None:
        conditions.append(Job.created_at < wanted.created_before)
    return select(Job).where(*conditions)
