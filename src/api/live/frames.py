"""What travels on the sockets besides a job's events: the frames of the server, the words of the client."""

import random
from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from headrace.api.schemas import JobView

encode: Final = msgspec.json.Encoder().encode

_LONGEST_RETRY_SECONDS: Final = 3.0


class Frame(Struct, frozen=True):
    """One encoded frame; *seq* is there on events only."""

    data: bytes
    seq: int | None = None


class Hello(Struct, frozen=True, kw_only=True, tag="hello", tag_field="type"):
    """The first frame: the job as it is."""

    job_id: UUID
    head: int
    job: JobView


class Beat(Struct, frozen=True, kw_only=True, tag="beat", tag_field="type"):
    """At least every 10 s. *head* is the number of the job's newest event; *degraded*: news may be late."""

    head: int
    degraded: bool


class JobsBeat(Struct, frozen=True, kw_only=True, tag="beat", tag_field="type"):
    """At least every 10 s. *degraded*: news may be late."""

    degraded: bool


class End(Struct, frozen=True, kw_only=True, tag="end", tag_field="type"):
    """The last frame: the job is over and all of its events were sent."""

    state: str


class Bye(Struct, frozen=True, kw_only=True, tag="bye", tag_field="type"):
    """The server stops; come back after so many seconds."""

    retry_after: float


class Pong(Struct, frozen=True, tag="pong", tag_field="type"):
    """The answer to a ping."""


class ErrorFrame(Struct, frozen=True, kw_only=True, tag="error", tag_field="type"):
    """What was said cannot be done, or why the socket is closed next; *code* is stable."""

    code: str
    message: str


class Ping(Struct, tag="ping"):
    """Answered with `pong`."""


class Cancel(Struct, tag="cancel"):
    """As POST /jobs/{id}/cancel."""


class Resume(Struct, tag="resume"):
    """Go on from another event."""

    after: Annotated[int, Meta(ge=0)]


def framed(body: Struct) -> Frame:
    return Frame(encode(body))


def bye() -> Frame:
    """The jitter keeps those who come back from coming all at once."""
    return framed(Bye(retry_after=round(random.uniform(0.1, _LONGEST_RETRY_SECONDS), 2)))  # noqa: S311


def error(code: str, message: str) -> Frame:
    return framed(ErrorFrame(code=code, message=message))


def signed_out() -> Frame:
    """What the stream was opened with does not count any more."""
    return error("signed_out", "the session, key or token is over; sign in again")


def skipping(progress: bytes, skipped: int) -> bytes:
    """That progress frame, which says that it replaced so many others; 0: as it is."""
    return progress[:-1] + b',"skipped":%d}' % skipped if skipped else progress
