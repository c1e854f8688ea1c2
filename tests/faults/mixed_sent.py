"""What a mixed load has sent, and what was acknowledged of it: the promises that the service must keep."""

import hashlib
from typing import Any

from msgspec import Struct, field


class Calls(Struct):
    """How many calls of one kind were sent for an object, and how many were acknowledged."""

    sent: int = 0
    acknowledged: int = 0


class SentJob(Struct, kw_only=True):
    """A job whose id a response named.

    *meta* are the entries of acknowledged patches. *tags* are those of the newest acknowledged patch,
    *unknown_tags* those of patches without an answer. A watched job is neither deleted nor retried, so that
    its history stays as its watchers saw it. *is_held*: a call is under way that no other may overtake.
    """

    id: str
    fails: int = 0
    is_watched: bool = False
    is_held: bool = False
    cancels: Calls = field(default_factory=Calls)
    retries: Calls = field(default_factory=Calls)
    deletes: Calls = field(default_factory=Calls)
    meta: dict[str, int] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    unknown_tags: list[list[str]] = field(default_factory=list)


class SentUpload(Struct):
    """An upload that was acknowledged."""

    id: str
    number: int
    deletes: Calls = field(default_factory=Calls)


class SentPreset(Struct):
    """A preset that was acknowledged."""

    id: str
    title: str
    deletes: Calls = field(default_factory=Calls)

    @property
    def is_usable(self) -> bool:
        return not self.deletes.acknowledged


class SentSubmission(Struct, kw_only=True):
    """A request for *count* jobs, whose meta name its *number*. *response* is the first that accepted it."""

    number: int
    action: str
    path: str
    body: dict[str, Any] = field(default_factory=dict)
    count: int = 1
    key: str | None = None
    preset: SentPreset | None = None
    tries: int = 0
    response: bytes | None = None
    job_ids: list[str] = field(default_factory=list)

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.key is None else {"Idempotency-Key": self.key}


class Sent(Struct):
    """Everything that a load has sent; *number* is the last number that it has used."""

    jobs: dict[str, SentJob] = field(default_factory=dict)
    submissions: list[SentSubmission] = field(default_factory=list)
    uploads: dict[str, SentUpload] = field(default_factory=dict)
    presets: dict[str, SentPreset] = field(default_factory=dict)
    number: int = 0

    def next_number(self) -> int:
        self.number += 1
        return self.number


def upload_content(number: int) -> bytes:
    """Return the bytes of upload *number*."""
    return f"upload {number}\n".encode() * (1 + number * 331 % 3_000)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
