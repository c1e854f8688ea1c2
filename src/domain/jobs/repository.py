"""The queries about jobs that serve users. Those of workers are in `attempts`."""

from collections.abc import Sequence, Set
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    Select,
    TextClause,
    and_,
    delete,
    func,
    select,
    text,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute, defer, joinedload, selectinload
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.sql.base import ExecutableOption

from headrace.domain.accounts.reach import Reach
from headrace.domain.base import DATABASE_NOW, Session
from headrace.domain.cursors import decode_cursor, encode_cursor
from headrace.domain.events.encoding import EncodedEvent
from headrace.domain.jobs.filters import Include, JobFilter
from headrace.domain.jobs.job_lists import JobLists, JobSelection
from headrace.domain.jobs.models import Job, StepRun
from headrace.domain.jobs.results import load_result
from headrace.domain.jobs.settling import settle_steps_sql
from headrace.domain.jobs.states import JobState, StepState, move
from headrace.domain.jobs.step_lists import load_listed_steps
from headrace.domain.jobs.waiting import ServingWorker
from headrace.domain.omissions import MAX_REPEATED_BYTES, OMITTED
from headrace.domain.paging import ListPage, check_offset, fetch_rows, json_size, page_of, scope_of
from headrace.domain.pipelines.models import PipelineVersion
from headrace.domain.tags.links import set_tags
from headrace.domain.tags.models import JOB_TAGS
from headrace.domain.workers.models import WorkerProcess

VALUES: Final[Sequence[InstrumentedAttribute[Any]]] = (Job.params, Job.meta, Job.result)
"""The JSON columns of a job, which may be large."""

_IS_SMALL: Final = and_(
    Job.result_step.is_(None), sum(map(json_size, VALUES[1:]), json_size(VALUES[0])) <= MAX_REPEATED_BYTES
)

_APPEND_EVENT: Final = text("""
INSERT INTO job_changes (job_id, seq, at, type, body)
VALUES (CAST(:job_id AS uuid), :seq, statement_timestamp(), :type, CAST(:body AS json))
RETURNING at
""")


def _change_and_log(assignment: str, *others: str) -> TextClause:
    """Return a statement that changes a locked job, runs *others*, and logs the job's next event."""
    change = f"""UPDATE jobs SET {assignment}, event_seq = :seq, updated_at = statement_timestamp()
        WHERE id = CAST(:job_id AS uuid)"""  # noqa: S608  (fragments of this code base)
    parts = [f"part_{place} AS ({part})" for place, part in enumerate((change, *others))]
    return text(f"WITH {', '.join(parts)} {_APPEND_EVENT.text}")


_CANCEL: Final = _change_and_log(
    "state = 'cancelled', finished_at = statement_timestamp()",
    settle_steps_sql("(SELECT CAST(:job_id AS uuid) AS id) c", "'cancelled'"),
)
_REQUEST_CANCEL: Final = _change_and_log("cancel_requested_at = statement_timestamp()")


class JobRepository:
    """Reads take a `Reach`; writes are for a job that was fetched and locked within it."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def fetch(self, job_id: UUID, reach: Reach, include: Set[Include] = frozenset()) -> Job | None:
        """Return the job with its tags and what *include* names; None when it is not within reach."""
        statement = _job_within(reach, job_id).options(*_load_options(include))
        result = await self._session.execute(statement.execution_options(populate_existing=True))
        job = result.scalar_one_or_none()
        if job is not None:
            await load_result(self._session, job)
        return job

    async def fetch_locked(
        self,
        job_id: UUID,
        reach: Reach,
        values: Set[str] = frozenset(),
        *,
        states: Set[JobState] | None = None,
        with_tags: bool = False,
    ) -> Job | None:
        """Lock and return the job; None when it is not within reach, or in none of *states*.

        Of its `VALUES` it has only those that *values* name.
        """
        statement = _job_within(reach, job_id).with_for_update(key_share=True, of=Job)
        if states is not None:
            statement = statement.where(Job.state.in_(states))
        if with_tags:
            statement = statement.options(selectinload(Job.tags))
        statement = statement.options(*(defer(column) for column in VALUES if column.key not in values))
        result = await self._session.execute(statement.execution_options(populate_existing=True))
        return result.scalar_one_or_none()

    async def fetch_many(self, job_ids: Sequence[UUID], reach: Reach) -> list[Job]:
        """Return those of the jobs that are within reach and have no large values, with their tags."""
        those = select(Job).where(Job.id.in_(job_ids), _IS_SMALL, *reach.within(Job.owner_id, Job.id))
        result = await self._session.execute(
            those.options(*_load_options(frozenset())).execution_options(populate_existing=True)
        )
        return list(result.scalars())

    async def fetch_page(self, reach: Reach, filters: JobFilter) -> ListPage[Job]:
        """Return a page in a stable order, and how many jobs match in all.

        Large values are `OMITTED`, and those that follow many others.

        Raises:
            CursorInvalidError: the filter's cursor is none of this list.
            OffsetTooLargeError: the page is too far from the beginning of the list.
        """
        check_offset(filters.offset)
        lists = await JobLists.of(self._session, reach, filters)
        scope = scope_of("jobs", reach.owner_id, filters)
        position = None if filters.after is None else decode_cursor(scope, filters.after, lists.order)
        selection = await lists.select(position)
        rows, total = await fetch_rows(
            self._session,
            select(Job)
            .where(Job.id.in_(selection.ids.subquery().select()))
            .order_by(*(column.ordered for column in lists.order)),
            counted=selection.counted,
            estimated=selection.estimated,
            is_whole=selection.is_whole,
            order=lists.order,
            options=_load_options(filters.include, is_list=True),
            large=VALUES,
        )
        page = page_of([row[0] for row in rows], total, order=lists.order, limit=filters.limit, scope=scope)
        for job in page.items:
            if job.result_step is not None:
                set_committed_value(job, "result", OMITTED)
        if Include.STEPS in filters.include:
            await load_listed_steps(self._session, page.items)
        return _with_reach(page, selection, scope, filters.offset)

    async def fetch_steps(self, job: Job) -> Sequence[StepRun]:
        """Return the stored step runs, in no order."""
        statement = select(StepRun).where(StepRun.job_id == job.id)
        return (await self._session.execute(statement)).scalars().all()

    async def fetch_serving(self, alive_within: timedelta) -> tuple[datetime, list[ServingWorker]]:
        """Return the database's time, and every worker that was seen within *alive_within*."""
        clock = select(DATABASE_NOW.label("now")).subquery()
        worker = WorkerProcess
        holds = (Job.lease_owner == worker.id, Job.state == JobState.RUNNING)
        running = select(func.count()).where(*holds).scalar_subquery()
        statement = select(
            clock.c.now, worker.queues, worker.pipelines, running, worker.concurrency
        ).outerjoin_from(clock, worker, worker.last_seen_at > DATABASE_NOW - alive_within)
        rows = (await self._session.execute(statement)).all()
        return rows[0].now, [
            ServingWorker(set(queues), set(pipelines), running, concurrency)
            for _, queues, pipelines, running, concurrency in rows
            if queues is not None
        ]

    async def append_event(self, job: Job, event: EncodedEvent) -> datetime:
        """Flush the job and log *event* as its next; return the database's time of the event."""
        job.event_seq += 1
        await self._session.flush()
        return await self._log(_APPEND_EVENT, job, event)

    async def cancel(self, job: Job, event: EncodedEvent) -> datetime:
        """Cancel a locked job with its pending and running step runs, and log *event*; return its time."""
        set_committed_value(job, "event_seq", job.event_seq + 1)
        at = await self._log(_CANCEL, job, event)
        set_committed_value(job, "state", move(job.state, JobState.CANCELLED))
        set_committed_value(job, "finished_at", at)
        return at

    async def request_cancel(self, job: Job, event: EncodedEvent) -> datetime:
        """Tell the worker of a locked job to stop it, and log *event*; return its time."""
        set_committed_value(job, "event_seq", job.event_seq + 1)
        at = await self._log(_REQUEST_CANCEL, job, event)
        set_committed_value(job, "cancel_requested_at", at)
        return at

    async def set_tags(self, job: Job, names: Sequence[str]) -> None:
        """Give the job exactly the tags *names*; insert those that its owner lacks."""
        await set_tags(self._session, JOB_TAGS, job.id, job.owner_id, names)

    async def reset_steps(self, job: Job) -> None:
        """Make every step run that did not succeed `pending` again, with all its tries."""
        await self._session.execute(
            update(StepRun)
            .where(StepRun.job_id == job.id, StepRun.state != StepState.SUCCEEDED)
            .values(
                state=StepState.PENDING, tries=0, error=None, retry_at=None, started_at=None, finished_at=None
            )
        )

    async def delete(self, job: Job) -> None:
        """Delete the job; the database deletes its history, files and links."""
        await self._session.execute(delete(Job).where(Job.id == job.id))

    async def _log(self, statement: TextClause, job: Job, event: EncodedEvent) -> datetime:
        parameters = {"job_id": job.id, "seq": job.event_seq, "type": event.type, "body": event.body}
        at: datetime = (await self._session.execute(statement, parameters)).scalar_one()
        return at


def _job_within(reach: Reach, job_id: UUID) -> Select[tuple[Job]]:
    return select(Job).where(Job.id == job_id, *reach.within(Job.owner_id, Job.id))


def _with_reach(page: ListPage[Job], selection: JobSelection, scope: str, offset: int) -> ListPage[Job]:
    """Add how far the list looked. A page that its window could not fill goes on behind the window.

    An empty page behind an *offset* has no next: a cursor does not hold what is left of the offset.
    """
    is_cut = page.next is None or selection.resume_at is None
    cursor = page.next
    if cursor is None and selection.resume_at is not None and (page.items or not offset):
        cursor = encode_cursor(scope, selection.resume_at)
    return ListPage(
        items=page.items,
        total=page.total,
        total_is_estimate=page.total_is_estimate,
        next=cursor,
        looked_back_to=selection.looked_back_to if is_cut else None,
    )


def _load_options(include: Set[Include], *, is_list: bool = False) -> list[ExecutableOption]:
    """Return the options that load *include*: one more statement for each, however many jobs there are.

    The step runs of a list are loaded by `load_listed_steps`.
    """
    options: list[ExecutableOption] = [selectinload(Job.tags)]
    if Include.STEPS in include:
        options.append(joinedload(Job.definition, innerjoin=True).load_only(PipelineVersion.graph))
        if not is_list:
            options.append(selectinload(Job.step_runs))
    if Include.FILES in include:
        options.append(selectinload(Job.files))
    return options
