"""The frames that the server sends on its sockets besides a job's events, and the client's messages."""

import random
from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from headrace.api.jobs.schemas import JobView

encode: Final = msgspec.json.Encoder().encode

_MAX_RETRY_SECONDS: Final = 3.0


class Frame(Struct, frozen=True):
    """One encoded frame. Only an event has a *seq*, its number in the job."""

    data: bytes
    seq: int | None = None


class Hello(Struct, frozen=True, kw_only=True, tag="hello", tag_field="type"):
    """The first frame: the job's current state."""

    job_id: UUID
    head: int
    job: JobView


class Beat(Struct, frozen=True, kw_only=True, tag="beat", tag_field="type"):
    """Sent at least every 10 s. *head* is the number of the newest event; *degraded*: events may be late."""

    head: int
    degraded: bool


class JobsBeat(Struct, frozen=True, kw_only=True, tag="beat", tag_field="type"):
    """Sent at least every 10 s. *degraded*: changes may be late."""

    degraded: bool


class End(Struct, frozen=True, kw_only=True, tag="end", tag_field="type"):
    """The last frame: the job is over and all of its events were sent."""

    state: str


class Bye(Struct, frozen=True, kw_only=True, tag="bye", tag_field="type"):
    """The server stops; reconnect after *retry_after* seconds."""

    retry_after: float


class Pong(Struct, frozen=True, tag="pong", tag_field="type"):
    """The answer to a ping."""


class ErrorFrame(Struct, frozen=True, kw_only=True, tag="error", tag_field="type"):
    """Refuses a client's message, or says why the socket is closed next. *code* is stable."""

    code: str
    message: str


class Ping(Struct, tag="ping"):
    """Asks for a `pong`."""


class Cancel(Struct, tag="cancel"):
    """Cancels the job, as POST /jobs/{id}/cancel does."""


class Resume(Struct, tag="resume"):
    """Continues past event *after*."""

    after: Annotated[int, Meta(ge=0)]


def framed(body: Struct) -> Frame:
    return Frame(encode(body))


def bye() -> Frame:
    """Return a goodbye whose retry time is random, so that clients do not reconnect all at once."""
    return framed(Bye(retry_after=round(random.uniform(0.1, _MAX_RETRY_SECONDS), 2)))  # noqa: S311


def error(code: str, message: str) -> Frame:
    return framed(ErrorFrame(code=code, message=message))


def signed_out() -> Frame:
    """Return the error for a stream whose credential is no longer valid."""
    return error("signed_out", "the session, key or token is over; sign in again")


def with_skipped(progress: bytes, skipped: int) -> bytes:
    """Return the progress frame with the number of frames that it replaced; unchanged if that is 0."""
    return progress[:-1] + b',"skipped":%d}' % skipped if skipped else progress
