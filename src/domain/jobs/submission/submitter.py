"""The path of every new job into the database: its submission is resolved, checked and stored."""

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
from headrace.domain.heavy_work import TURN_CHARS, HeavyWork
from headrace.domain.jobs.errors import (
    IdempotencyConflictError,
    JobDeletedError,
    PresetBusyError,
    PresetNotFoundError,
)
from headrace.domain.jobs.submission.resolver import SubmissionResolver
from headrace.domain.jobs.submission.submission import (
    PLACEHOLDER_TEXT,
    JobSpec,
    NewJob,
    StoreResult,
    Submission,
    SubmissionKey,
    job_ids_in,
)
from headrace.domain.jobs.submission.submit_repository import SubmitRepository
from headrace.domain.jobs.waiting import ServingWorker, why_queued
from headrace.domain.json_limits import ValueTooLargeError, is_too_large
from headrace.domain.pipelines.catalogue import CachedPipeline
from headrace.domain.pipelines.service import ParamsInvalidError
from headrace.domain.pipelines.versions import version_key
from headrace.domain.quotas.quotas import NO_QUOTAS, Quotas

_MAX_TRIES: Final = 3
_RETRY_SECONDS: Final = 0.1

Render = Callable[[Sequence[NewJob]], bytes]
"""Renders the response, with `PLACEHOLDER_TIME` for the time of storing."""

Store = Callable[[Submission], Awaitable[StoreResult]]


class PipelineBusyError(HeadraceError):
    """The pipeline was registered again during each try to store the submission."""


class SubmissionResult(Struct, frozen=True, kw_only=True):
    """The response of a submission, its news to publish, and the queues to ring for.

    *is_replayed*: *body* is the stored response of an earlier submission with the same key, nothing is new.
    """

    body: bytes
    is_replayed: bool = False
    news: Sequence[JobNews] = ()
    queues: Sequence[str] = ()


class Submitter:
    """Accepts the submissions of one API process."""

    def __init__(
        self,
        database: Database,
        store: Store | None = None,
        heavy_work: HeavyWork | None = None,
        quotas: Quotas = NO_QUOTAS,
    ) -> None:
        """*store* stores a submission together with others, within the quotas that it knows.

        Without it each submission has its own statement, and *quotas* hold.
        """
        self._repository = SubmitRepository(database, quotas)
        self._store = store or self._store_single
        self._heavy_work = heavy_work or HeavyWork()
        self._resolver = SubmissionResolver(database, self._heavy_work)

    async def submit(
        self,
        owner_id: UUID,
        specs: Sequence[JobSpec],
        render: Render,
        *,
        key: SubmissionKey | None = None,
        at: str = "$",
        request_id: str | None = None,
        traceparent: str | None = None,
    ) -> SubmissionResult:
        """Store all jobs of *specs* or none.

        *at* is the path of a spec in the request, `{}` for its index; faults carry it. *request_id* is stored
        with the jobs, for the logs of their workers, and *traceparent* for their traces.

        Raises:
            ValueTooLargeError: the params or the meta of a spec are too large.
            ParamsInvalidError: pipelines are unknown or params invalid; holds every fault.
            IdempotencyConflictError: the key was used with another request.
            JobDeletedError: the key was used for jobs that were all deleted since.
            QuotaExceededError: the owner would have more jobs queued or running than a quota allows.
            TooManyTagsError: the owner would have too many tags.
            PresetNotFoundError: the preset of a spec does not exist.
            PresetBusyError: the preset of a spec is being changed.
            PipelineBusyError: a pipeline was registered again during each try.
        """
        encoded, total_chars = await self._encode(specs, at)
        preset_ids = {spec.preset_id for spec in specs if spec.preset_id is not None}
        for _ in range(_MAX_TRIES):
            try:
                sizes = [len(params) for params, _ in encoded]
                pipelines, serving = await self._resolver.resolve(specs, sizes, at)
            except ParamsInvalidError:
                # A replay must succeed even if the pipeline's schema has changed since.
                if key is not None and (replay := await self.replay(owner_id, key)) is not None:
                    return replay
                raise
            tags = {name for spec in specs for name in spec.tags}
            tag_ids = await self._repository.ensure_tags(owner_id, tags) if tags else {}
            if total_chars > TURN_CHARS:
                await self._heavy_work.take_turn()
            jobs = _new_jobs(specs, encoded, pipelines, serving, tag_ids)
            submission = Submission(
                owner_id=owner_id,
                jobs=jobs,
                response=render(jobs).decode(),
                key=key,
                request_id=request_id,
                traceparent=traceparent,
            )
            if total_chars > TURN_CHARS:
                await self._heavy_work.take_turn()
            stored = await self._store(submission)
            if stored.verdict == "stored":
                return _result(submission, stored)
            # The job of a key that is replayed exists already, so no quota refuses it.
            replayable = key if stored.verdict in ("repeated", "refused") else None
            if replayable is not None and (replay := await self.replay(owner_id, replayable)) is not None:
                return replay
            if stored.refusal is not None:
                raise stored.refusal
            self._resolver.evict(specs)
            await self._wait_for_presets(preset_ids)
        if preset_ids:
            raise PresetBusyError(min(preset_ids))
        raise PipelineBusyError("the pipeline is being registered; try again")

    async def _encode(self, specs: Sequence[JobSpec], at: str) -> tuple[list[tuple[str, str]], int]:
        """Return the params and the meta of each spec as JSON, and how many characters they have together."""
        encoded = []
        total_chars = chars_in_turn = 0
        for index, spec in enumerate(specs):
            values = _encode_values(spec, at.format(index))
            encoded.append(values)
            chars = sum(map(len, values))
            total_chars, chars_in_turn = total_chars + chars, chars_in_turn + chars
            if chars_in_turn > TURN_CHARS:
                chars_in_turn = 0
                await self._heavy_work.take_turn()
        return encoded, total_chars

    async def _wait_for_presets(self, preset_ids: Collection[UUID]) -> None:
        """Give the transactions that change the presets a moment; return at once without presets."""
        for preset_id in preset_ids:
            if not await self._repository.preset_exists(preset_id):
                raise PresetNotFoundError(preset_id)
        if preset_ids:
            await asyncio.sleep(_RETRY_SECONDS)

    async def _store_single(self, submission: Submission) -> StoreResult:
        (stored,) = await self._repository.store([submission])
        return stored

    async def replay(self, owner_id: UUID, key: SubmissionKey) -> SubmissionResult | None:
        """Return the stored response of the key; None when the key is free.

        Raises:
            IdempotencyConflictError: the key was used with another request.
            JobDeletedError: all jobs of that submission were deleted.
        """
        stored = await self._repository.fetch_key(owner_id, key)
        if stored is None:
            return None
        response, is_same_request = stored
        if not is_same_request or response is None:
            raise IdempotencyConflictError(key.name)
        job_ids = job_ids_in(response)
        if job_ids and not await self._repository.any_job_exists(job_ids):
            raise JobDeletedError(job_ids[0], len(job_ids))
        return SubmissionResult(body=response, is_replayed=True)


def _encode_values(spec: JobSpec, path: str) -> tuple[str, str]:
    params, meta = msgspec.json.encode(spec.params), msgspec.json.encode(spec.meta)
    if is_too_large(params):
        raise ValueTooLargeError(f"{path}.params")
    if is_too_large(meta):
        raise ValueTooLargeError(f"{path}.meta")
    return params.decode(), meta.decode()


def _new_jobs(
    specs: Sequence[JobSpec],
    encoded: Sequence[tuple[str, str]],
    pipelines: Sequence[CachedPipeline],
    serving: list[ServingWorker],
    tag_ids: dict[str, UUID],
) -> list[NewJob]:
    now = datetime.now(UTC)
    return [
        NewJob(
            id=uuid7(),
            spec=spec,
            pipeline=pipeline,
            params=params,
            meta=meta,
            waiting_for=why_queued(
                version_key(pipeline.name, pipeline.version),
                spec.queue,
                is_due=spec.run_at is None or spec.run_at <= now,
                attempt=0,
                losses=0,
                needs_process=pipeline.needs_process,
                serving=serving,
            ),
            tag_ids=tuple({tag_ids[name] for name in spec.tags}),
        )
        for spec, (params, meta), pipeline in zip(specs, encoded, pipelines, strict=True)
    ]


def _result(submission: Submission, stored: StoreResult) -> SubmissionResult:
    events = [encode_event(JobQueued())]
    news = [
        JobNews(
            job_id=job.id,
            owner_id=submission.owner_id,
            pipeline=job.pipeline.name,
            state="queued",
            head=1,
            progress=0.0,
            at=stored.at,
            events=events,
        )
        for job in submission.jobs
    ]
    return SubmissionResult(
        body=submission.response.replace(PLACEHOLDER_TEXT, stored.at_text).encode(),
        news=news,
        queues=[job.spec.queue for job in submission.jobs],
    )
