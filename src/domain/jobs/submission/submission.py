"""What one request wants submitted, on its way into the database. Pure."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Struct

from headrace.domain.pipelines.catalogue import CachedPipeline

# Stands in an answer for the moment that only the database knows. Random, so that nobody's own text is it.
NOT_YET: Final = datetime(1, 1, 1, tzinfo=UTC) + timedelta(microseconds=secrets.randbelow(86_399_999_999) + 1)
NOT_YET_TEXT: Final = msgspec.json.encode(NOT_YET).decode().strip('"')


class JobSpec(Struct, frozen=True, kw_only=True):
    """One submission. *run_at* None: now; *version* None: the newest."""

    pipeline: str
    params: dict[str, Any]
    version: int | None = None
    run_at: datetime | None = None
    priority: int = 5
    queue: str = "default"
    max_attempts: int | None = None
    timeout_seconds: float | None = None
    tags: tuple[str, ...] = ()
    meta: dict[str, Any] = {}
    preset_id: UUID | None = None


class NewJob(Struct, frozen=True, kw_only=True):
    """One job that is to be stored, its *params* and *meta* as JSON.

    *waiting_for* says why it will not start at once, if it does not.
    """

    id: UUID
    order: JobSpec
    pipeline: CachedPipeline
    params: str
    meta: str
    waiting_for: str
    tag_ids: tuple[UUID, ...] = ()


class Key(Struct, frozen=True):
    """The caller's name for a submission, and its request as JSON."""

    name: str
    request: str


class Submission(Struct, kw_only=True):
    """The jobs of one request: all are stored, or none.

    *answer* is what the caller is told, with `NOT_YET_TEXT` where the moment of storing belongs.
    """

    owner_id: UUID
    jobs: Sequence[NewJob]
    answer: str
    key: Key | None = None
    request_id: str | None = None


class StoreResult(Struct, frozen=True):
    """What became of a submission.

    `made` · `repeated`: its key is taken, nothing was stored · `stale`: a pipeline has changed meanwhile,
    or a preset is being changed or gone, nothing was stored. *moment* is that of storing, as frames and
    answers write it.
    """

    verdict: Literal["made", "repeated", "stale"]
    at: datetime
    moment: str
