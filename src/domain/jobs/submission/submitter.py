"""Accepting jobs: resolved, checked, and stored together with what other callers submit at the moment."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct
from uuid_utils.compat import uuid7

from headrace.domain.database import Database
from headrace.domain.errors import HeadraceError
from headrace.domain.events.encoding import encode_event
from headrace.domain.events.news import JobNews
from headrace.domain.events.types import JobQueued
from headrace.domain.jobs.errors import IdempotencyConflictError, PresetBusyError, PresetNotFoundError
from headrace.domain.jobs.submission.submission import (
    NOT_YET_TEXT,
    JobSpec,
    Key,
    NewJob,
    StoreResult,
    Submission,
)
from headrace.domain.jobs.submission.submit_repository import SubmitRepository
from headrace.domain.jobs.waiting import why_queued
from headrace.domain.json_bounds import ValueTooLargeError, is_too_large
from headrace.domain.pipelines.catalogue import CachedPipeline, Catalogue
from headrace.domain.pipelines.service import (
    Fault,
    ParamsInvalidError,
    PipelineNotFoundError,
    PipelineUnknownError,
    check_params,
)
from headrace.domain.pipelines.versions import version_key
from headrace.domain.workers.directory import Serving, WorkerDirectory

_TRIES: Final = 3
_PAUSE_SECONDS: Final = 0.1

Render = Callable[[Sequence[NewJob]], bytes]
"""Writes the caller's answer, with `NOT_YET` where the moment of storing belongs."""

Store = Callable[[Submission], Awaitable[StoreResult]]


class PipelineBusyError(HeadraceError):
    """A pipeline is registered anew all the time."""


class SubmissionResult(Struct, frozen=True, kw_only=True):
    """What the caller is told. Of one that *is_replayed* nothing but the body is known."""

    body: bytes
    is_replayed: bool = False
    news: Sequence[JobNews] = ()
    queues: Sequence[str] = ()


class Submitter:
    """The one way of a job into the database."""

    def __init__(self, database: Database, store: Store | None = None) -> None:
        """*store* stores a submission together with others; without it each is stored by itself."""
        self._repository = SubmitRepository(database)
        self._store = store or self._store_alone
        self._catalogue = Catalogue(database)
        self._workers = WorkerDirectory(database)

    async def submit(
        self,
        owner_id: UUID,
        orders: Sequence[JobSpec],
        render: Render,
        *,
        key: Key | None = None,
        at: str = "$",
        request_id: str | None = None,
    ) -> SubmissionResult:
        """Accept *orders*, all or none. *at* is where they stand in the request, for the paths of faults.

        *request_id* is kept with the jobs, for the logs of those who run them.

        Raises:
            ValueTooLargeError: the parameters or the meta of an order are too large to be kept.
            ParamsInvalidError: a pipeline is unknown, or parameters do not fit it; with every fault.
            IdempotencyConflictError: the key was used with another request.
            PresetNotFoundError: the preset of an order is gone.
            PresetBusyError: somebody changes it.
        """
        written = [_as_json(order, at, place) for place, order in enumerate(orders)]
        presets = {order.preset_id for order in orders if order.preset_id is not None}
        for _ in range(_TRIES):
            try:
                found, serving = await self._resolve(orders, at)
            except ParamsInvalidError:
                # What was accepted once under this key stays accepted, whatever the pipeline asks for now.
                if key is not None and (known := await self._find_key(owner_id, key)) is not None:
                    return known
                raise
            tags = {name for order in orders for name in order.tags}
            tag_ids = await self._repository.tag_ids(owner_id, tags) if tags else {}
            jobs = _new_jobs(orders, written, found, serving, tag_ids)
            submission = Submission(
                owner_id=owner_id,
                jobs=jobs,
                answer=render(jobs).decode(),
                key=key,
                request_id=request_id,
            )
            stored = await self._store(submission)
            if stored.verdict == "made":
                return _answer(submission, stored)
            if stored.verdict == "repeated" and key is not None:
                known = await self._find_key(owner_id, key)
                if known is not None:
                    return known
            for order in orders:
                self._catalogue.evict(order.pipeline, order.version)
            await self._wait_for(presets)
        if presets:
            raise PresetBusyError(min(presets))
        raise PipelineBusyError("the pipeline is being registered; try again")

    async def _wait_for(self, presets: Collection[UUID]) -> None:
        """Give those who change the presets a moment; without presets it goes on at once."""
        for preset_id in presets:
            if not await self._repository.has_preset(preset_id):
                raise PresetNotFoundError(preset_id)
        if presets:
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _store_alone(self, submission: Submission) -> StoreResult:
        (stored,) = await self._repository.store([submission])
        return stored

    async def _find_key(self, owner_id: UUID, key: Key) -> SubmissionResult | None:
        found = await self._repository.find_key(owner_id, key.name, key.request)
        return None if found is None else _replay(key, *found)

    async def _resolve(self, orders: Sequence[JobSpec], at: str) -> tuple[list[CachedPipeline], Serving]:
        found: list[CachedPipeline] = []
        asked: dict[tuple[str, int | None], CachedPipeline | None] = {}
        faults: list[Fault] = []
        unknown: list[Fault] = []
        for place, order in enumerate(orders):
            wanted = (order.pipeline, order.version)
            if wanted not in asked:
                asked[wanted] = await self._catalogue.get(*wanted)
            pipeline = asked[wanted]
            here = at.format(place)
            if pipeline is None:
                field = "pipeline" if order.version is None else "version"
                unknown.append(
                    Fault(f"{here}.{field}", str(PipelineNotFoundError(order.pipeline, order.version)))
                )
                continue
            found.append(pipeline)
            try:
                check_params(pipeline, order.params, at=f"{here}.params")
            except ParamsInvalidError as error:
                faults += error.faults
        if unknown:
            raise PipelineUnknownError(unknown + faults)
        if faults:
            raise ParamsInvalidError(orders[0].pipeline if len(orders) == 1 else "of the batch", faults)
        return found, await self._workers.serving()


def _as_json(order: JobSpec, at: str, place: int) -> tuple[str, str]:
    params, meta = msgspec.json.encode(order.params), msgspec.json.encode(order.meta)
    if is_too_large(params):
        raise ValueTooLargeError(f"{at.format(place)}.params")
    if is_too_large(meta):
        raise ValueTooLargeError(f"{at.format(place)}.meta")
    return params.decode(), meta.decode()


def _new_jobs(
    orders: Sequence[JobSpec],
    written: Sequence[tuple[str, str]],
    found: Sequence[CachedPipeline],
    serving: Serving,
    tag_ids: dict[str, UUID],
) -> list[NewJob]:
    now = datetime.now(UTC)
    return [
        NewJob(
            id=uuid7(),
            order=order,
            pipeline=pipeline,
            params=params,
            meta=meta,
            waiting_for=why_queued(
                version_key(pipeline.name, pipeline.version),
                order.queue,
                is_due=order.run_at is None or order.run_at <= now,
                attempt=0,
                serving=serving,
            ),
            tag_ids=tuple({tag_ids[name] for name in order.tags}),
        )
        for order, (params, meta), pipeline in zip(orders, written, found, strict=True)
    ]


def _answer(submission: Submission, stored: StoreResult) -> SubmissionResult:
    queued = [encode_event(JobQueued())]
    news = [
        JobNews(
            job_id=job.id,
            owner_id=submission.owner_id,
            pipeline=job.pipeline.name,
            state="queued",
            head=1,
            progress=0.0,
            at=stored.at,
            events=queued,
        )
        for job in submission.jobs
    ]
    return SubmissionResult(
        body=submission.answer.replace(NOT_YET_TEXT, stored.moment).encode(),
        news=news,
        queues=[job.order.queue for job in submission.jobs],
    )


def _replay(key: Key, answer: bytes | None, is_same: bool) -> SubmissionResult:
    if not is_same or answer is None:
        raise IdempotencyConflictError(key.name)
    return SubmissionResult(body=answer, is_replayed=True)
