"""A blocking client."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack

import httpx

from headrace_client import calls
from headrace_client.address import Address
from headrace_client.calls import (
    BatchJob,
    Call,
    EventPage,
    FileFilter,
    JobFilter,
    JobsWatchFilter,
    SubmitOptions,
)
from headrace_client.files import CHUNK_BYTES, atomic_target
from headrace_client.position import JobsPosition, Position
from headrace_client.references import Reference, id_of
from headrace_client.resources import Resources
from headrace_client.tries import Tries
from headrace_client.views import Job, Page, StepRun, StoredFile
from headrace_client.watch import JobsWatch, Watch

T = TypeVar("T")


class Client(Resources):
    """A client of one service for one caller; threads may share it.

    Every call raises `ApiError` for an error of the service, and `UnreachableError` without an answer.
    Idempotent calls are retried up to *retries* times when the connection is lost. Every call is retried when
    the service requests it (429, 503), after the requested pause.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        token: str | None = None,
        *,
        timeout: float = 30.0,
        retries: int = 3,
    ) -> None:
        """*url* is given without `/api/v1`. *timeout* bounds each wait for data, in seconds.

        Raises:
            BadUrlError, BadTokenError: *url* or *token* cannot be used.
        """
        self._address = Address(url, token)
        self._retries = retries
        self._http = httpx.Client(
            base_url=self._address.url,
            headers=self._address.headers,
            timeout=httpx.Timeout(timeout, connect=min(timeout, 5.0)),
            trust_env=not self._address.is_local,
            verify=self._address.verify,
        )

    @property
    def url(self) -> str:
        return self._address.url

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(
        self, pipeline: str, params: Any = None, *, key: str | None = None, **options: Unpack[SubmitOptions]
    ) -> Job:
        """Submit a job; it is stored when the call returns. The same *key* again returns the same job.

        *params* is a dict, a struct, a dataclass or a pydantic model that becomes a JSON object.
        """
        return self._send(calls.submit(pipeline, params, key, options))

    def submit_many(self, jobs: Sequence[BatchJob], *, key: str | None = None) -> list[Job]:
        """Submit up to 1,000 jobs, all or none. The same *key* again returns the same jobs."""
        return self._send(calls.submit_many(jobs, key))

    def watch(
        self,
        job: Reference,
        after: int = 0,
        *,
        patience: float = 60.0,
        first_patience: float | None = None,
        tell: Callable[[str | None], None] = lambda _: None,
    ) -> Watch:
        """Yield each event after *after* once and in order, other frames between them, and `End` last.

        The service may be away for *patience* seconds, or *first_patience* before its first answer. *tell* is
        called with each reason why there is no connection, and with None when it is back.
        """
        position = Position(
            self.url, id_of(job), after, patience=patience, first_patience=first_patience, tell=tell
        )
        return Watch(self._address, position)

    def watch_jobs(
        self,
        *,
        patience: float = 60.0,
        first_patience: float | None = None,
        tell: Callable[[str | None], None] = lambda _: None,
        **filters: Unpack[JobsWatchFilter],
    ) -> JobsWatch:
        """Yield the newest 500 jobs that match, and then each job that changes, until it is closed.

        After a lost connection the newest jobs come again. The other arguments are those of `watch`.
        """
        position = JobsPosition(
            self.url, calls.query_of(filters), patience=patience, first_patience=first_patience, tell=tell
        )
        return JobsWatch(self._address, position)

    def wait(self, job: Reference, *, timeout: float | None = None, patience: float = 60.0) -> Job:
        """Wait until the job has ended and return it. Also raises the errors of `watch`.

        Raises:
            WaitTimeoutError: the job has not ended within *timeout* seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not (newest := self.show(job)).is_final:
            position = Position(self.url, id_of(job), newest.event_seq, patience=patience)
            with Watch(self._address, position, deadline) as frames:
                for _ in frames:
                    pass
        return newest

    def show(self, job: Reference) -> Job:
        """Fetch one job."""
        return self._send(calls.show(job))

    def jobs(self, **filters: Unpack[JobFilter]) -> Page[Job]:
        """List jobs, newest first by default."""
        return self._send(calls.jobs(filters))

    def change(
        self,
        job: Reference,
        *,
        tags: Sequence[str] | None = None,
        meta: Mapping[str, Any] | None = None,
        keep: bool | None = None,
    ) -> Job:
        """Change tags or meta of a job, or pin it with *keep*, so that it is never pruned.

        What is None stays; a None in *meta* removes its key.
        """
        return self._send(calls.change(job, tags=tags, meta=meta, keep=keep))

    def delete(self, job: Reference) -> None:
        """Delete a job that has ended, with its history and files."""
        self._send(calls.delete(job))

    def steps(self, job: Reference) -> list[StepRun]:
        """List the step runs of a job, in the order of its pipeline."""
        return self._send(calls.steps(job))

    def events(self, job: Reference, after: int = 0, *, limit: int = 100) -> EventPage:
        """List the events of a job after a number, without waiting for new ones."""
        return self._send(calls.events(job, after, limit))

    def cancel(self, job: Reference) -> Job:
        """Cancel a job: a queued job at once, a running job soon."""
        return self._send(calls.cancel(job))

    def retry(self, job: Reference) -> Job:
        """Queue a failed job again. Steps that have succeeded are not repeated."""
        return self._send(calls.retry(job))

    def files(
        self, job: Reference, *, limit: int = 100, offset: int = 0, after: str | None = None
    ) -> Page[StoredFile]:
        """List the files of a job, oldest first."""
        return self._send(calls.files(job, limit, offset, after))

    def all_files(self, **filters: Unpack[FileFilter]) -> Page[StoredFile]:
        """List uploads and the files of all jobs, newest first by default."""
        return self._send(calls.all_files(filters))

    def show_file(self, file: Reference) -> StoredFile:
        """Fetch the metadata of one file."""
        return self._send(calls.show_file(file))

    def upload(self, path: Path | str) -> StoredFile:
        """Upload a file under its name."""
        return self._send(calls.upload(Path(path)))

    def download(self, file: Reference, path: Path | str) -> Path:
        """Write a file's content to *path* atomically."""
        call = calls.download(file)
        tries = Tries(self.url, call, self._retries)
        with atomic_target(Path(path)) as target:
            while True:
                outcome = self._stream(call, target)
                pause = tries.after(outcome)
                if pause is None:
                    tries.answer(outcome)
                    return Path(path)
                time.sleep(pause)

    def change_file(
        self, file: Reference, *, name: str | None = None, meta: Mapping[str, Any] | None = None
    ) -> StoredFile:
        """Change name or meta of a file. What is None stays; a None in *meta* removes its key."""
        return self._send(calls.change_file(file, name=name, meta=meta))

    def delete_file(self, file: Reference) -> None:
        """Delete a file."""
        self._send(calls.delete_file(file))

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        key: str | None = None,
    ) -> dict[str, Any]:
        """Call any path below `/api/v1` and return the decoded JSON."""
        return self._send(calls.request(method, path, params or {}, body, key))

    def _send(self, call: Call[T]) -> T:
        tries = Tries(self.url, call, self._retries)
        while True:
            outcome = self._try(call)
            pause = tries.after(outcome)
            if pause is None:
                return tries.read(outcome, call)
            time.sleep(pause)

    def _try(self, call: Call[Any]) -> httpx.Response | httpx.TransportError:
        with ExitStack() as stack:
            content = None if call.file is None else stack.enter_context(call.file.open("rb"))
            try:
                return self._http.request(
                    call.method,
                    calls.call_path(call),
                    params=call.params,
                    headers=calls.call_headers(call),
                    content=call.body,
                    files=None
                    if content is None or call.file is None
                    else {"file": (call.file.name, content)},
                )
            except httpx.TransportError as error:
                return error

    def _stream(self, call: Call[bytes], target: Path) -> httpx.Response | httpx.TransportError:
        try:
            with self._http.stream(call.method, calls.call_path(call)) as answer:
                if answer.is_error:
                    answer.read()
                    return answer
                with target.open("wb") as file:
                    for chunk in answer.iter_bytes(CHUNK_BYTES):
                        file.write(chunk)
                return httpx.Response(answer.status_code)
        except httpx.TransportError as error:
            return error
