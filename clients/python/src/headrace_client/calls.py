"""The calls of the REST API as values, which both clients send."""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Generic, TypedDict, TypeVar
from urllib.parse import quote
from uuid import UUID, uuid4

import msgspec
from msgspec import Struct

from headrace_client.address import API
from headrace_client.frames import AnyEvent, read_frame
from headrace_client.views import File, Job, Page, StepRun

T = TypeVar("T")
JobId = UUID | str


class SubmitOptions(TypedDict, total=False):
    """Optional fields of a new job. The service chooses defaults for those left out."""

    version: int
    run_at: datetime
    priority: int
    queue: str
    max_attempts: int
    timeout_seconds: float
    tags: list[str]
    meta: dict[str, Any]


class JobFilter(TypedDict, total=False):
    """Filters, order and page of a list of jobs."""

    state: str
    pipeline: str
    tag: str
    search: str
    created_after: datetime
    created_before: datetime
    order_by: str
    limit: int
    offset: int


class EventPage(Struct, frozen=True):
    """Events after a cursor, in order. *head* is the number of the job's newest event."""

    items: list[AnyEvent]
    head: int


class Call(Struct, Generic[T], frozen=True, kw_only=True):
    """One request, and the function that decodes its answer. An idempotent call is *is_repeatable*."""

    method: str
    path: str
    read: Callable[[bytes], T]
    is_repeatable: bool = False
    params: Mapping[str, Any] = {}
    body: bytes | None = None
    key: str | None = None
    file: Path | None = None


class _Items(Struct, Generic[T]):
    items: list[T]


class _RawEventPage(Struct):
    items: list[msgspec.Raw]
    head: int


_read_job: Final = msgspec.json.Decoder(Job).decode
_read_jobs: Final = msgspec.json.Decoder(Page[Job]).decode
_read_file: Final = msgspec.json.Decoder(File).decode
_read_files: Final = msgspec.json.Decoder(Page[File]).decode
_read_steps: Final = msgspec.json.Decoder(_Items[StepRun]).decode
_read_events: Final = msgspec.json.Decoder(_RawEventPage).decode


def encode(value: Any) -> bytes:
    """Encode a value as JSON; a model of pydantic under its aliases, as its pipeline reads it."""
    return msgspec.json.encode(value, enc_hook=_model_fields)


def _model_fields(value: Any) -> Any:
    if not hasattr(type(value), "__pydantic_serializer__"):
        raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")
    return value.model_dump(mode="json", by_alias=True, round_trip=True)


def submit(pipeline: str, params: Any, key: str | None, options: SubmitOptions) -> Call[Job]:
    """Build a submission. Without *key* it gets a random one, so that it can be retried."""
    body = encode({"pipeline": pipeline, "params": {} if params is None else params, **options})
    return Call(
        method="POST", path="/jobs", read=_read_job, is_repeatable=True, body=body, key=key or uuid4().hex
    )


def show(job_id: JobId) -> Call[Job]:
    return Call(method="GET", path=_of(job_id), read=_read_job, is_repeatable=True)


def jobs(filters: JobFilter) -> Call[Page[Job]]:
    return Call(method="GET", path="/jobs", read=_read_jobs, is_repeatable=True, params=_query(filters))


def steps(job_id: JobId) -> Call[list[StepRun]]:
    def read(content: bytes) -> list[StepRun]:
        return _read_steps(content).items

    return Call(method="GET", path=_of(job_id, "/steps"), read=read, is_repeatable=True)


def events(job_id: JobId, after: int, limit: int) -> Call[EventPage]:
    params = {"after": after, "limit": limit}
    return Call(
        method="GET", path=_of(job_id, "/events"), read=_event_page, is_repeatable=True, params=params
    )


def cancel(job_id: JobId) -> Call[Job]:
    return Call(method="POST", path=_of(job_id, "/cancel"), read=_read_job)


def retry(job_id: JobId) -> Call[Job]:
    return Call(method="POST", path=_of(job_id, "/retry"), read=_read_job)


def files(job_id: JobId, limit: int, offset: int) -> Call[Page[File]]:
    params = {"limit": limit, "offset": offset}
    return Call(method="GET", path=_of(job_id, "/files"), read=_read_files, is_repeatable=True, params=params)


def upload(path: Path) -> Call[File]:
    return Call(method="POST", path="/files", read=_read_file, file=path)


def download(file_id: UUID | str) -> Call[bytes]:
    path = f"/files/{quote(str(file_id), safe='')}/content"
    return Call(method="GET", path=path, read=bytes, is_repeatable=True)


def request(
    method: str, path: str, params: Mapping[str, Any], body: Any, key: str | None
) -> Call[dict[str, Any]]:
    """Build any call whose answer is a JSON object or empty."""
    return Call(
        method=method,
        path=quote(path),
        read=_json,
        is_repeatable=method == "GET" or key is not None,
        params=_query(params),
        body=None if body is None else encode(body),
        key=key,
    )


def call_path(call: Call[Any]) -> str:
    """Return the path of *call* below the URL of the service."""
    return API + call.path


def call_headers(call: Call[Any]) -> dict[str, str]:
    """Return the headers of *call*."""
    headers = {} if call.body is None else {"Content-Type": "application/json"}
    return headers if call.key is None else {**headers, "Idempotency-Key": call.key}


def _event_page(content: bytes) -> EventPage:
    page = _read_events(content)
    # Every entry of the log has a number, so each frame is an event.
    return EventPage([read_frame(raw) for raw in page.items], page.head)  # type: ignore[misc]


def _json(content: bytes) -> dict[str, Any]:
    return msgspec.json.decode(content, type=dict[str, Any]) if content else {}


def _of(job_id: JobId, rest: str = "") -> str:
    return f"/jobs/{quote(str(job_id), safe='')}{rest}"


def _query(params: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in params.items()
        if value is not None
    }
