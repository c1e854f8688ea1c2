"""A submission on its way into the database: the jobs of one request, its key, and its response. Pure."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Struct

from headrace.domain.pipelines.catalogue import CachedPipeline
from headrace.domain.quotas.quotas import QuotaExceededError

# The response is rendered before the statement runs, but only the database knows the time of storing. It
# replaces this text, which is random so that no text of a caller equals it.
PLACEHOLDER_TIME: Final = datetime(1, 1, 1, tzinfo=UTC) + timedelta(
    microseconds=secrets.randbelow(86_399_999_999) + 1
)
PLACEHOLDER_TEXT: Final = msgspec.json.encode(PLACEHOLDER_TIME).decode().strip('"')


class JobSpec(Struct, frozen=True, kw_only=True):
    """A job as a caller specifies it. *run_at* None: now; *version* None: the newest."""

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
    """A job that was checked and is ready to be stored; *params* and *meta* are JSON texts.

    *waiting_for* says why the job will not start at once, if that is known: see `why_queued`.
    """

    id: UUID
    spec: JobSpec
    pipeline: CachedPipeline
    params: str
    meta: str
    waiting_for: str | None
    tag_ids: tuple[UUID, ...] = ()


class SubmissionKey(Struct, frozen=True):
    """The caller's name for a submission (`Idempotency-Key`), and the submission's request as JSON.

    *request* is canonical: the same JSON always has the same text.
    """

    name: str
    request: str

    @classmethod
    def of(cls, name: str, call: str, body: bytes) -> "SubmissionKey":
        """Return the key *name* for the request to *call* with this JSON as its body; empty means `{}`.

        Order and spaces do not matter. Numbers are those that a job stores, so PostgreSQL can store them.
        """
        request = {"call": call, "body": msgspec.json.decode(body or b"{}")}
        return cls(name, msgspec.json.encode(request, order="deterministic").decode())

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the request."""
        return hashlib.sha256(self.request.encode()).digest()


class Submission(Struct, kw_only=True):
    """The jobs of one request: all are stored, or none.

    *response* is the body that the caller gets, with `PLACEHOLDER_TEXT` for the time of storing.
    """

    owner_id: UUID
    jobs: Sequence[NewJob]
    response: str
    key: SubmissionKey | None = None
    request_id: str | None = None
    traceparent: str | None = None


class StoreResult(Struct, frozen=True):
    """The result of storing a submission, at the database's time *at*; *at_text* is the same in JSON.

    *verdict*: `stored` · `repeated`: the key is taken, nothing was stored · `stale`: a pipeline has changed
    since it was looked up, or a preset is locked or deleted, nothing was stored · `refused`: the owner has
    used up a quota, which *refusal* names, nothing was stored.
    """

    verdict: Literal["stored", "repeated", "stale", "refused"]
    at: datetime
    at_text: str
    refusal: QuotaExceededError | None = None


class _Stored(Struct):
    """What every stored response has: the id of its job, or its jobs as items."""

    id: UUID | None = None
    items: list["_Stored"] = []


def job_ids_in(response: bytes) -> list[UUID]:
    """Return the ids of the jobs in a stored response, in their order."""
    stored = msgspec.json.decode(response, type=_Stored)
    return [job.id for job in (stored, *stored.items) if job.id is not None]
