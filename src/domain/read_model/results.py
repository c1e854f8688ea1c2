"""The results of nested reads: an object with its owner, its tags and the JSON values of the query."""

from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct

from headrace.domain.files.models import File
from headrace.domain.jobs.models import Job
from headrace.domain.presets.models import Preset


class Owner(Struct, frozen=True):
    """The part of a user that other users see."""

    id: UUID
    username: str


class NamedTag(Struct, frozen=True):
    """A tag without its owner and counts."""

    id: UUID
    name: str


class OwnedJob(Struct, frozen=True):
    """A job with its owner, and its tags in the order of their names.

    *values* has those of `params`, `meta` and `result` that the query selects. *job* itself has none of them.
    """

    job: Job
    owner: Owner
    tags: list[NamedTag]
    values: dict[str, Any]


class OwnedJobs(Struct, frozen=True):
    """A page of jobs. *looked_back_to*: only the jobs created since then were looked at; None: all were."""

    items: list[OwnedJob]
    looked_back_to: datetime | None = None


class OwnedPreset(Struct, frozen=True):
    """A preset with its owner, and its tags by name. *params* is None unless the query selects them."""

    preset: Preset
    owner: Owner
    tags: list[NamedTag]
    params: Any = None


class FileRow(Struct, frozen=True):
    """A file with its *meta*, which is None unless the query selects it."""

    file: File
    meta: Any = None


class Schemas(Struct, frozen=True):
    """The schemas of a pipeline, as JSON."""

    params: Any
    result: Any

    @property
    def size(self) -> int:
        """The bytes of both."""
        return sum(memoryview(schema).nbytes for schema in (self.params, self.result) if schema is not None)
