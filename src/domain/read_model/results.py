"""The results of nested reads: an object with its owner and its tags."""

from uuid import UUID

from msgspec import Struct

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
    """A job with its owner, and its tags in the order of their names."""

    job: Job
    owner: Owner
    tags: list[NamedTag]


class OwnedPreset(Struct, frozen=True):
    """A preset with its owner, and its tags in the order of their names."""

    preset: Preset
    owner: Owner
    tags: list[NamedTag]
