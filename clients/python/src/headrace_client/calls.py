"""The calls for jobs and files as values, which both clients send."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Generic, Required, TypedDict, TypeVar
from urllib.parse import quote
from uuid import UUID, uuid4

import msgspec
from msgspec import Struct

from headrace_client.address import API
from headrace_client.frames import AnyEvent, read_frame
from headrace_client.references import Reference, id_of
from headrace_client.views import Job, Page, StepRun, StoredFile

T = TypeVar("T")


class JobTerms(TypedDict, total=False):
    """How a job runs. The service chooses defaults for the fields left out."""

    run_at: datetime
    priority: int
    queue: str
    max_attempts: int
    timeout_seconds: float
    tags: list[str]
    meta: dict[str, Any]


class SubmitOptions(JobTerms, total=False):
    """Optional fields of a new job."""

    version: int


class BatchJob(SubmitOptions, total=False):
    """One job of `submit_many`."""

    pipeline: Required[str]
    params: Any


class JobFilter(TypedDict, total=False):
    """Filters, order and page of a list of jobs. *state* is one state, or several."""

    state: str | Sequence[str]
    pipeline: str
    queue: str
    tag: str
    search: str
    created_after: datetime
    created_before: datetime
    preset: UUID | str
    owner: UUID | str
    order_by: str
    limit: int
    offset: int
    after: str


class JobsWatchFilter(TypedDict, total=False):
    """The jobs of a watch of all jobs. *owner* is for admins."""

    state: str
    pipeline: str
    tag: str
    owner: UUID | str


class FileFilter(TypedDict, total=False):
    """Filters, order and page of a list of files."""

    job: UUID | str
    search: str
    created_before: datetime
    order_by: str
    limit: int
    offset: int
    after: str


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


read_job: Final = msgspec.json.Decoder(Job).decode
_read_jobs: Final = msgspec.json.Decoder(Page[Job]).decode
_read_batch: Final = msgspec.json.Decoder(_Items[Job]).decode
_read_file: Final = msgspec.json.Decoder(StoredFile).decode
_read_files: Final = msgspec.json.Decoder(Page[StoredFile]).decode
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
        method="POST", path="/jobs", read=read_job, is_repeatable=True, body=body, key=key or uuid4().hex
    )


def submit_many(jobs: Sequence[BatchJob], key: str | None) -> Call[list[Job]]:
    """Build the submission of a batch, which can be retried as well."""
    entries = [{**job, "params": {} if job.get("params") is None else job["params"]} for job in jobs]

    def read(content: bytes) -> list[Job]:
        return _read_batch(content).items

    return Call(
        method="POST",
        path="/jobs/batch",
        read=read,
        is_repeatable=True,
        body=encode({"jobs": entries}),
        key=key or uuid4().hex,
    )


def show(job: Reference) -> Call[Job]:
    return Call(method="GET", path=path_of("jobs", job), read=read_job, is_repeatable=True)


def jobs(filters: JobFilter) -> Call[Page[Job]]:
    return Call(method="GET", path="/jobs", read=_read_jobs, is_repeatable=True, params=query_of(filters))


def change(job: Reference, **changes: Any) -> Call[Job]:
    body = _given(changes)
    return Call(method="PATCH", path=path_of("jobs", job), read=read_job, is_repeatable=True, body=body)


def delete(job: Reference) -> Call[None]:
    return remove(path_of("jobs", job))


def steps(job: Reference) -> Call[list[StepRun]]:
    def read(content: bytes) -> list[StepRun]:
        return _read_steps(content).items

    return Call(method="GET", path=path_of("jobs", job, "/steps"), read=read, is_repeatable=True)


def events(job: Reference, after: int, limit: int) -> Call[EventPage]:
    params = {"after": after, "limit": limit}
    path = path_of("jobs", job, "/events")
    return Call(method="GET", path=path, read=_event_page, is_repeatable=True, params=params)


def cancel(job: Reference) -> Call[Job]:
    return Call(method="POST", path=path_of("jobs", job, "/cancel"), read=read_job)


def retry(job: Reference) -> Call[Job]:
    return Call(method="POST", path=path_of("jobs", job, "/retry"), read=read_job)


def files(job: Reference, limit: int, offset: int, after: str | None) -> Call[Page[StoredFile]]:
    params = query_of({"limit": limit, "offset": offset, "after": after})
    path = path_of("jobs", job, "/files")
    return Call(method="GET", path=path, read=_read_files, is_repeatable=True, params=params)


def all_files(filters: FileFilter) -> Call[Page[StoredFile]]:
    return Call(method="GET", path="/files", read=_read_files, is_repeatable=True, params=query_of(filters))


def show_file(file: Reference) -> Call[StoredFile]:
    return Call(method="GET", path=path_of("files", file), read=_read_file, is_repeatable=True)


def upload(path: Path) -> Call[StoredFile]:
    return Call(method="POST", path="/files", read=_read_file, file=path)


def download(file: Reference) -> Call[bytes]:
    path = path_of("files", file, "/content")
    return Call(method="GET", path=path, read=bytes, is_repeatable=True)


def change_file(file: Reference, **changes: Any) -> Call[StoredFile]:
    body = _given(changes)
    return Call(method="PATCH", path=path_of("files", file), read=_read_file, is_repeatable=True, body=body)


def delete_file(file: Reference) -> Call[None]:
    return remove(path_of("files", file))


def remove(path: str, params: Mapping[str, Any] | None = None) -> Call[None]:
    """Build a DELETE. It is not retried, because a second one would find nothing."""
    return Call(method="DELETE", path=path, read=lambda _: None, params=params or {})


def request(
    method: str, path: str, params: Mapping[str, Any], body: Any, key: str | None
) -> Call[dict[str, Any]]:
    """Build any call whose answer is a JSON object or empty."""
    return Call(
        method=method,
        path=quote(path),
        read=_json,
        is_repeatable=method == "GET" or key is not None,
        params=query_of(params),
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


def path_of(kind: str, reference: Reference, rest: str = "") -> str:
    """Return the path of an object, below `/api/v1`."""
    return f"/{kind}/{quote(id_of(reference), safe='')}{rest}"


def query_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the query for *params*, without those that are None. A list is repeated."""
    return {name: _text(value) for name, value in params.items() if value is not None}


def _given(changes: Mapping[str, Any]) -> bytes:
    return encode({name: value for name, value in changes.items() if value is not None})


def _text(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case bool():
            return str(value).lower()
        case UUID():
            return str(value)
        case _:
            return value
